"""State of the worker for its health endpoints."""

import pytest
from structlog.testing import capture_logs

from stream.worker.health_state import STALL_LIMIT, DependencyStatus
from stream.worker.progress import Delay


@pytest.fixture
def clock(monkeypatch):
    """The time, to be set."""
    now = [1000.0]
    monkeypatch.setattr("stream.worker.health_state.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def serving(clock, health):
    """A worker that serves, with work waiting."""
    health.joined, health.waiting = True, 3
    health.model.worked("probe")
    health.broker.worked("probe")
    health.progress()
    return health


def test_health_state_work_that_waits_without_progress_is_a_stall(serving, clock):
    """Beyond the limit there is a reason to restart; progress makes the worker alive again."""
    clock[0] += STALL_LIMIT
    assert serving.stalled() is None
    clock[0] += 1
    assert serving.stalled() == "3 documents wait and nothing moved for 181 s"
    serving.progress()
    assert serving.stalled() is None


def test_health_state_no_partitions_for_long_is_a_stall(serving, clock):
    """A worker that the group does not take in is not alive."""
    serving.joined = False
    clock[0] += STALL_LIMIT + 1
    assert serving.stalled() == "no partitions were assigned for 181 s"


@pytest.mark.parametrize("dependency", ["model", "broker"])
def test_health_state_an_outage_is_no_stall(serving, clock, dependency):
    """While a dependency is known to be down a restart would not help."""
    getattr(serving, dependency).failed("probe", "gone")
    clock[0] += STALL_LIMIT + 1
    assert serving.stalled() is None


def test_health_state_fatal_cause_is_a_stall_at_once(serving):
    """A part of this process that is gone for good wants a restart, though the model is then down as well."""
    serving.model.failed("probe", "it is not ready")
    serving.fatal = "the engine broke down"
    assert serving.stalled() == "the engine broke down"


def test_health_state_stuck_wait_is_a_stall_unless_there_is_an_outage(serving):
    """One partition that stands still wants a restart although others move; not while the broker is away."""
    serving.stuck = Delay("docs", 3, 17, 500.2, "records are not fetched")
    assert serving.stalled() == "docs/3/17: records are not fetched for 500 s"
    serving.broker.failed("probe", "gone")
    assert serving.stalled() is None


def test_health_state_unchecked_worker_is_neither_ready_nor_alive(serving, clock):
    """A worker whose own checks have stopped says so soon, and wants a restart later."""
    serving.checked()
    clock[0] += 31
    assert serving.delays() == {"checks": "the worker has not looked at itself for 31 s"}
    assert serving.stalled() is None
    clock[0] += STALL_LIMIT
    serving.waiting = 0
    assert serving.stalled() == "the worker has not looked at itself for 211 s"
    serving.checked()
    assert (serving.delays(), serving.stalled()) == ({}, None)


def test_health_state_nothing_to_do_is_no_stall(serving, clock):
    """An idle worker is alive."""
    serving.waiting = 0
    clock[0] += STALL_LIMIT + 1
    assert serving.stalled() is None


def test_health_state_outage_shows_in_the_metrics(metrics):
    """A dependency is down until it has worked, and down again while it fails, with the cause."""
    status = DependencyStatus("model", metrics)

    def up() -> float | None:
        return metrics.registry.get_sample_value("padellm_part_up", {"part": "model"})

    assert (up(), status.cause) == (0, "not reached yet")
    status.worked("probe")
    assert (up(), status.cause) == (1, None)
    status.failed("probe", ConnectionError("refused"))
    assert (up(), status.cause) == (0, "refused")


def test_health_state_probe_does_not_hide_failing_work(serving, clock):
    """A server that answers probes and fails the work is down, with one line in the log, until it works."""
    with capture_logs() as logs:
        for _ in range(5):
            serving.model.failed("extract", "UNKNOWN")
            clock[0] += 1
            serving.model.worked("probe")
            assert serving.model.cause == "UNKNOWN"
        serving.model.worked("extract")
    assert serving.model.cause is None
    assert [line["event"] for line in logs] == ["model unavailable", "model recovered"]


def test_health_state_failure_that_is_not_repeated_is_forgotten(serving, clock):
    """When the documents that failed have gone elsewhere, the probe alone makes the dependency up again."""
    serving.model.failed("extract", "UNKNOWN")
    clock[0] += 61
    serving.model.worked("probe")
    assert serving.model.cause is None
