"""The matching of outcomes to documents."""

import pytest

from stream.errors import StackError
from stream.kafka.records import OutgoingRecord
from stream.kafka.round_trip import Outcome, _Ledger


def _record(name: str) -> OutgoingRecord:
    return OutgoingRecord(name.encode(), b"{}", "")


def _outcome(position: tuple[int, int]) -> Outcome:
    return Outcome("documents", position, None, "reason")


@pytest.mark.parametrize("order", ["confirmed first", "outcome first"])
def test_round_trip_matches_by_position(order):
    """An outcome is a document's whichever of outcome and confirmation comes first, and is told once."""
    told = []
    ledger = _Ledger(lambda record, outcome: told.append((record.key, outcome.position)))
    steps = [lambda: ledger.confirmed(_record("a"), (1, 7)), lambda: ledger.came(_outcome((1, 7)))]
    for step in steps if order == "confirmed first" else reversed(steps):
        step()
    assert told == [(b"a", (1, 7))]
    assert ledger.answered == 1


def test_round_trip_ignores_outcomes_of_others():
    """An outcome at a position that is not among ours counts for nothing."""
    ledger = _Ledger(lambda _record, _outcome: None)
    ledger.confirmed(_record("a"), (0, 0))
    ledger.came(_outcome((0, 1)))
    ledger.came(_outcome((0, 0)))
    summary = ledger.summary(0.0)
    assert (summary.documents, summary.dead_letters) == (1, 1)


def test_round_trip_refuses_a_second_outcome():
    """A document with two outcomes is an error that names its position."""
    ledger = _Ledger(lambda _record, _outcome: None)
    ledger.confirmed(_record("a"), (2, 3))
    ledger.came(_outcome((2, 3)))
    ledger.came(_outcome((2, 3)))
    with pytest.raises(StackError, match=r"1 documents have more than one outcome, first at \(2, 3\)"):
        ledger.summary(0.0)


def test_round_trip_of_nothing_is_all_zero():
    """No documents: a summary of zeros, not a division by zero."""
    summary = _Ledger(lambda _record, _outcome: None).summary(0.0)
    assert set(summary.as_dict().values()) == {0}
