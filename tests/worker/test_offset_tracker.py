"""Which offsets may be committed."""

from hypothesis import given
from hypothesis import strategies as st

from stream.worker.offset_tracker import Ledger

PARTITION = ("docs", 0)


def _slow_answer(offsets: list[int], finished: set[int]) -> int | None:
    """One past the last document before the first unfinished one."""
    prefix = [offset for i, offset in enumerate(offsets) if set(offsets[: i + 1]) <= finished]
    return prefix[-1] + 1 if prefix else None


@given(st.lists(st.integers(0, 200), min_size=1, max_size=30, unique=True).map(sorted), st.randoms())
def test_ledger_commits_exactly_the_finished_prefix(offsets, random):
    """In whatever order documents finish, whatever gaps the offsets have, the finished prefix counts."""
    ledger = Ledger()
    entries = {offset: ledger.open(PARTITION, 1, offset) for offset in offsets}
    order = random.sample(offsets, len(offsets))
    for done, offset in enumerate(order, start=1):
        ledger.finish(entries[offset])
        assert ledger.committable().get(PARTITION) == _slow_answer(offsets, set(order[:done]))
    assert ledger.committable() == {PARTITION: offsets[-1] + 1}
    assert ledger.first_open(PARTITION) is None


def test_ledger_commits_nothing_twice():
    """What was committed is not committable again until more is finished; what failed to commit stays."""
    ledger = Ledger()
    first, second = ledger.open(PARTITION, 1, 5), ledger.open(PARTITION, 1, 6)
    ledger.finish(first)
    assert ledger.committable() == {PARTITION: 6}
    assert ledger.committable() == {PARTITION: 6}
    ledger.committed({PARTITION: 6})
    assert ledger.committable() == {}
    ledger.finish(second)
    assert ledger.committable() == {PARTITION: 7}


def test_ledger_ignores_what_finishes_after_its_generation():
    """A document of an earlier generation moves no offset of the present one."""
    ledger = Ledger()
    stale = ledger.open(PARTITION, 1, 5)
    fresh = ledger.open(PARTITION, 2, 5)
    ledger.finish(stale)
    assert ledger.committable() == {}
    assert ledger.first_open(PARTITION) == 5
    ledger.finish(fresh)
    assert ledger.committable() == {PARTITION: 6}


def test_ledger_ignores_what_finishes_after_its_partition_went():
    """Once a partition is revoked nothing of it can be committed."""
    ledger = Ledger()
    entry = ledger.open(PARTITION, 1, 5)
    ledger.revoke([PARTITION])
    ledger.finish(entry)
    ledger.committed({PARTITION: 9})
    assert ledger.committable() == {}


def test_ledger_opens_an_offset_once_in_a_generation():
    """A record that is delivered again within a generation is not a second document."""
    ledger = Ledger()
    assert ledger.open(PARTITION, 1, 5)
    assert ledger.open(PARTITION, 1, 5) is None
    assert ledger.open(PARTITION, 1, 4) is None
    assert ledger.open(PARTITION, 2, 4)
