"""Reason codes of ``Removed``: why a mention is not among the entities."""

UNREADABLE_COUNT = "unreadable_count"
UNGROUNDED = "ungrounded"
BELOW_THRESHOLD = "below_threshold"
DUPLICATE = "duplicate"
OTHER_LABEL = "other_label"
OVERLAP = "overlap"
