"""Sequences that share most of their tokens: a document with its branches."""

from dataclasses import dataclass, field

from stream.engine.prefix_tree import TokenIds, common_prefix
from stream.engine.sequence import Sequence

# A sequence and the first of its group differ, on average, in no more tokens than they share, or in this few.
_FEW_TOKENS = 8


@dataclass(slots=True, eq=False)
class Group:
    """Sequences that are read together.

    Attributes:
        ids: Prompt of its first sequence.
        begun: Whether most of it had been read before it came: a text that is asked more, as a rule.
        sequences: In order of arrival.
        running: Whether a pass over it is on its way; no second one starts until it ends.
    """

    ids: TokenIds
    begun: bool = False
    sequences: dict[Sequence, None] = field(default_factory=dict)
    running: bool = False

    def suits(self, ids: TokenIds) -> bool:
        """Whether a prompt shares enough with this group to be read with it."""
        shared = common_prefix(self.ids, ids)
        return len(self.ids) + len(ids) - 2 * shared <= 2 * max(shared, _FEW_TOKENS)
