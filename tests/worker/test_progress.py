"""Waits that last too long."""

import pytest

from stream.worker.progress import Bounds, ProgressWatch, Wait

_BOUNDS = Bounds(late=30.0, stuck=180.0)


@pytest.fixture
def clock(monkeypatch):
    """The time, to be set."""
    now = [1000.0]
    monkeypatch.setattr("stream.worker.progress.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def watch(clock, metrics):
    """A watch that looks each second, by ``_pass``."""
    return ProgressWatch(metrics)


def _wait(offset: int = 17, *, partition: int = 3, since: float | None = None) -> Wait:
    return Wait("docs", partition, offset, "records are not fetched", _BOUNDS, since)


def _pass(clock, watch: ProgressWatch, seconds: int, *waits: Wait, excused: bool = False) -> None:
    for _ in range(seconds):
        clock[0] += 1
        watch.look(waits, excused=excused)


def test_progress_wait_is_late_and_then_stuck(clock, watch):
    """Beyond the first bound a wait is named by place and seconds, beyond the second it wants a restart."""
    _pass(clock, watch, 31, _wait())
    assert (watch.late, watch.stuck) == ([], None)
    _pass(clock, watch, 1, _wait())
    assert str(watch.late[0]) == "docs/3/17: records are not fetched for 31 s"
    assert watch.stuck is None
    _pass(clock, watch, 150, _wait())
    assert str(watch.stuck) == "docs/3/17: records are not fetched for 181 s"


def test_progress_one_partition_does_not_hide_another(clock, watch):
    """Partitions that move leave the late one late; the longest wait comes first."""
    for offset in range(40):
        _pass(clock, watch, 1, _wait(), _wait(offset, partition=0), _wait(5, partition=1))
    assert [(delay.partition, delay.offset) for delay in watch.late] == [(3, 17), (1, 5)]


def test_progress_that_is_made_ends_the_wait(clock, watch):
    """A position that moved, and a document that has had an answer, wait anew."""
    _pass(clock, watch, 200, _wait())
    _pass(clock, watch, 1, _wait(18))
    assert (watch.late, watch.stuck) == ([], None)
    _pass(clock, watch, 200, _wait(18, since=clock[0]))
    assert watch.late
    _pass(clock, watch, 1, _wait(18, since=clock[0]))
    assert (watch.late, watch.stuck) == ([], None)


def test_progress_outage_is_no_reason_to_restart(clock, watch):
    """Time in which a dependency is down counts for lateness, and not toward a restart."""
    _pass(clock, watch, 100, _wait())
    _pass(clock, watch, 1000, _wait(), excused=True)
    assert watch.late
    assert watch.stuck is None
    _pass(clock, watch, 79, _wait())
    assert watch.stuck is None
    _pass(clock, watch, 3, _wait())
    assert watch.stuck is not None


def test_progress_shows_in_the_metrics(clock, watch, metrics):
    """Each partition has its longest wait, and none when nothing waits."""

    def shown(partition: str) -> float | None:
        labels = {"topic": "docs", "partition": partition}
        return metrics.registry.get_sample_value("padellm_stalled_seconds", labels)

    _pass(clock, watch, 11, _wait(), _wait(18), _wait(1, partition=0))
    assert (shown("3"), shown("0")) == (10, 10)
    _pass(clock, watch, 1, _wait(1, partition=0))
    assert (shown("3"), shown("0")) == (None, 11)
