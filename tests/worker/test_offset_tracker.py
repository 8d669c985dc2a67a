"""Offsets that may be committed."""

from hypothesis import given
from hypothesis import strategies as st

from stream.worker.offset_tracker import OffsetTracker

PARTITION = ("docs", 0)


def _slow_answer(offsets: list[int], finished: set[int]) -> int | None:
    """One past the last document before the first unfinished one."""
    prefix = [offset for i, offset in enumerate(offsets) if set(offsets[: i + 1]) <= finished]
    return prefix[-1] + 1 if prefix else None


@given(st.lists(st.integers(0, 200), min_size=1, max_size=30, unique=True).map(sorted), st.randoms())
def test_tracker_commits_exactly_the_finished_prefix(offsets, random):
    """In whatever order documents finish, whatever gaps the offsets have, the finished prefix counts."""
    tracker = OffsetTracker()
    entries = {offset: tracker.open(PARTITION, 1, offset) for offset in offsets}
    order = random.sample(offsets, len(offsets))
    for done, offset in enumerate(order, start=1):
        tracker.finish(entries[offset])
        assert tracker.committable().get(PARTITION) == _slow_answer(offsets, set(order[:done]))
    assert tracker.committable() == {PARTITION: offsets[-1] + 1}
    assert tracker.first_open(PARTITION) is None


def test_tracker_commits_nothing_twice():
    """A committed offset is not committable again until more is finished; one that failed to commit is."""
    tracker = OffsetTracker()
    first, second = tracker.open(PARTITION, 1, 5), tracker.open(PARTITION, 1, 6)
    tracker.finish(first)
    assert tracker.committable() == {PARTITION: 6}
    assert tracker.committable() == {PARTITION: 6}
    tracker.committed({PARTITION: 6})
    assert tracker.committable() == {}
    tracker.finish(second)
    assert tracker.committable() == {PARTITION: 7}


def test_tracker_ignores_what_finishes_after_its_generation():
    """A document of an earlier generation moves no offset of the present one."""
    tracker = OffsetTracker()
    stale = tracker.open(PARTITION, 1, 5)
    fresh = tracker.open(PARTITION, 2, 5)
    tracker.finish(stale)
    assert tracker.committable() == {}
    assert tracker.first_open(PARTITION) == 5
    tracker.finish(fresh)
    assert tracker.committable() == {PARTITION: 6}


def test_tracker_ignores_what_finishes_after_its_partition_went():
    """Once a partition is revoked nothing of it can be committed."""
    tracker = OffsetTracker()
    entry = tracker.open(PARTITION, 1, 5)
    tracker.forget([PARTITION])
    tracker.finish(entry)
    tracker.committed({PARTITION: 9})
    assert tracker.committable() == {}


def test_tracker_opens_an_offset_once_in_a_generation():
    """A record that is delivered again within a generation is not a second document."""
    tracker = OffsetTracker()
    assert tracker.open(PARTITION, 1, 5)
    assert tracker.open(PARTITION, 1, 5) is None
    assert tracker.open(PARTITION, 1, 4) is None
    assert tracker.open(PARTITION, 2, 4)


def test_tracker_opens_earlier_offsets_of_a_log_that_went_back():
    """Once a partition was forgotten, earlier offsets of the same generation are documents again."""
    tracker = OffsetTracker()
    stale = tracker.open(PARTITION, 1, 1000)
    tracker.forget([PARTITION])
    entry = tracker.open(PARTITION, 1, 0)
    tracker.finish(stale)
    assert tracker.committable() == {}
    tracker.finish(entry)
    assert tracker.committable() == {PARTITION: 1}
