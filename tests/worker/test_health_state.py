"""What the worker knows of its own state."""

import pytest

from stream.worker.health_state import Outage, Vitals

LIMIT = 100.0


@pytest.fixture
def clock(monkeypatch):
    """The time, to be set."""
    now = [1000.0]
    monkeypatch.setattr("stream.worker.health_state.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def vitals(telemetry, clock):
    """A worker that serves, with work waiting."""
    vitals = Vitals(
        model=Outage("model", telemetry), broker=Outage("broker", telemetry), joined=True, waiting=3
    )
    vitals.model.ended()
    vitals.broker.ended()
    vitals.progress()
    return vitals


def test_vitals_work_that_waits_without_progress_is_a_stall(vitals, clock):
    """Beyond the limit the worker says what is stuck; progress makes it alive again."""
    clock[0] += LIMIT
    assert vitals.stalled(LIMIT) is None
    clock[0] += 1
    assert vitals.stalled(LIMIT) == "3 documents wait and nothing moved for 101 s"
    vitals.progress()
    assert vitals.stalled(LIMIT) is None


def test_vitals_no_partitions_for_long_is_a_stall(vitals, clock):
    """A worker that the group does not take in is not alive."""
    vitals.joined = False
    clock[0] += LIMIT + 1
    assert vitals.stalled(LIMIT) == "no partitions were assigned for 101 s"


@pytest.mark.parametrize("part", ["model", "broker"])
def test_vitals_an_outage_is_no_stall(vitals, clock, part):
    """While a part is known to be away a restart would help nobody."""
    getattr(vitals, part).began("gone")
    clock[0] += LIMIT + 1
    assert vitals.stalled(LIMIT) is None


def test_vitals_nothing_to_do_is_no_stall(vitals, clock):
    """An idle worker is alive."""
    vitals.waiting = 0
    clock[0] += LIMIT + 1
    assert vitals.stalled(LIMIT) is None


def test_vitals_outage_shows_in_the_metrics(telemetry):
    """A part is down until it has answered, and down again while it is away, with the cause."""
    outage = Outage("model", telemetry)

    def up() -> float | None:
        return telemetry.registry.get_sample_value("padellm_part_up", {"part": "model"})

    assert (up(), outage.cause) == (0, "not reached yet")
    outage.ended()
    assert (up(), outage.cause) == (1, None)
    outage.began(ConnectionError("refused"))
    assert (up(), outage.cause) == (0, "refused")
