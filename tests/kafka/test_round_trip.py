"""The matching of outcomes to documents."""

import pytest

from stream.kafka.records import OutgoingRecord
from stream.kafka.round_trip import DocumentOutcome, _Matcher


def _record(name: str) -> OutgoingRecord:
    return OutgoingRecord(name.encode(), b"{}", "")


def _outcome(position: tuple[int, int]) -> DocumentOutcome:
    return DocumentOutcome("documents", position, None, "reason")


@pytest.mark.parametrize("order", ["confirmed first", "outcome first"])
def test_round_trip_matches_by_position(order):
    """An outcome is a document's whichever of outcome and confirmation comes first, and is told once."""
    told = []
    matcher = _Matcher(lambda record, outcome: told.append((record.key, outcome.position)))
    steps = [lambda: matcher.confirm(_record("a"), (1, 7)), lambda: matcher.add(_outcome((1, 7)))]
    for step in steps if order == "confirmed first" else reversed(steps):
        step()
    assert told == [(b"a", (1, 7))]
    assert matcher.matched == 1


def test_round_trip_ignores_outcomes_of_others():
    """An outcome at a position that is not among ours counts for nothing."""
    matcher = _Matcher(lambda _record, _outcome: None)
    matcher.confirm(_record("a"), (0, 0))
    matcher.add(_outcome((0, 1)))
    matcher.add(_outcome((0, 0)))
    summary = matcher.summary(0.0)
    assert (summary.documents, summary.dead_letters) == (1, 1)


def test_round_trip_counts_repeats():
    """Delivery is at least once: further outcomes are counted as repeats; figures are those of the first."""
    matcher = _Matcher(lambda _record, _outcome: None)
    matcher.confirm(_record("a"), (2, 3))
    for _ in range(3):
        matcher.add(_outcome((2, 3)))
    summary = matcher.summary(0.0)
    assert (summary.documents, summary.dead_letters, summary.repeats) == (1, 1, 2)


def test_round_trip_of_nothing_is_all_zero():
    """No documents: a summary of zeros, not a division by zero."""
    summary = _Matcher(lambda _record, _outcome: None).summary(0.0)
    assert set(summary.as_dict().values()) == {0}
