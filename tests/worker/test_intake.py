"""Admission of records."""

import asyncio

from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.worker.intake import InFlightLimit, Intake, sign_of_life
from stream.worker.offset_tracker import OffsetTracker
from stream.worker.publisher import PartitionLost

PARTITION = ("docs", 0)


class Gate:
    """A handler whose documents wait until they are let through."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started: list[int] = []
        self.failures = 0
        self.error: Exception = RuntimeError("not even a dead letter")

    async def handle(self, record: Record, fetched: float) -> None:
        """Wait for the gate, then succeed or fail."""
        self.started.append(record.offset)
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            raise self.error


def _intake(
    gate: Gate, health, metrics, *, documents: int = 2, size: int = 1000
) -> tuple[Intake, OffsetTracker]:
    tracker = OffsetTracker()
    return Intake(gate.handle, tracker, InFlightLimit(documents, size, metrics), health), tracker


async def _admit(intake: Intake, offset: int, *, value: bytes = b"x", current: bool = True) -> None:
    await intake.admit(PARTITION, 1, Record("docs", 0, offset, value=value), current=lambda: current)


async def test_intake_bounds_documents_in_flight(health, metrics):
    """With the most documents in flight nothing more starts; when a place is free the next one does."""
    gate = Gate()
    intake, tracker = _intake(gate, health, metrics)
    await _admit(intake, 0)
    await _admit(intake, 1)
    third = asyncio.create_task(_admit(intake, 2))
    await asyncio.sleep(0.01)
    assert (gate.started, third.done()) == ([0, 1], False)
    gate.open.set()
    await third
    await intake.drain(1)
    assert gate.started == [0, 1, 2]
    assert tracker.committable() == {PARTITION: 3}
    assert metrics.registry.get_sample_value("padellm_in_flight") == 0


async def test_intake_bounds_bytes_in_flight(health, metrics):
    """Large documents reach the limit by their bytes; one beyond all bounds travels alone."""
    gate = Gate()
    intake, _ = _intake(gate, health, metrics, documents=10, size=1000)
    await _admit(intake, 0, value=b"x" * 5000)
    second = asyncio.create_task(_admit(intake, 1))
    await asyncio.sleep(0.01)
    assert not second.done()
    gate.open.set()
    await second
    await intake.drain(1)
    assert gate.started == [0, 1]


async def test_intake_drops_what_has_been_taken_away(health, metrics):
    """A record whose generation ended while it waited is not started, and takes no place."""
    gate = Gate()
    intake, tracker = _intake(gate, health, metrics, documents=1)
    await _admit(intake, 0, current=False)
    await _admit(intake, 0, current=False)
    assert gate.started == []
    assert tracker.first_open(PARTITION) is None


async def test_intake_drain_is_bounded(health, metrics):
    """A document that does not end in time is abandoned: its place is free, its offset not committable."""
    gate = Gate()
    intake, tracker = _intake(gate, health, metrics)
    await _admit(intake, 0)
    await asyncio.wait_for(intake.drain(0.05), timeout=1)
    assert intake.in_flight == 0
    assert tracker.committable() == {}
    assert metrics.registry.get_sample_value("padellm_in_flight") == 0


async def test_intake_never_acknowledges_without_an_outcome(health, metrics, monkeypatch):
    """When not even a dead letter can be sent the document is tried again, and acknowledged only then."""
    monkeypatch.setattr("stream.worker.intake.pauses", lambda **_: iter([0.0] * 5))
    gate = Gate()
    gate.failures = 2
    gate.open.set()
    intake, tracker = _intake(gate, health, metrics)
    await _admit(intake, 0)
    await intake.drain(1)
    assert gate.started == [0, 0, 0]
    assert tracker.committable() == {PARTITION: 1}


async def test_intake_names_the_topic_that_takes_no_dead_letter(health, metrics):
    """While a dead letter has no place the broker is down, with the cause, and the document is held."""
    health.broker.worked("probe")
    gate = Gate()
    gate.failures, gate.error = 1, DeliveryError("topic dead takes this dead letter in no form")
    gate.open.set()
    intake, tracker = _intake(gate, health, metrics)
    await _admit(intake, 0)
    await asyncio.sleep(0.05)
    health.broker.worked("probe")
    assert (health.outages()["broker"], tracker.committable()) == (str(gate.error), {})
    await intake.drain(5)
    assert (health.broker.cause, tracker.committable()) == (None, {PARTITION: 1})


async def test_intake_document_of_a_lost_partition_is_left_to_its_next_owner(health, metrics):
    """Such a document is not tried again here, holds no place, and its offset stays uncommitted."""
    gate = Gate()
    gate.failures, gate.error = 1, PartitionLost("another owner")
    gate.open.set()
    intake, tracker = _intake(gate, health, metrics)
    await _admit(intake, 0)
    await intake.drain(1)
    assert gate.started == [0]
    assert (intake.in_flight, tracker.committable(), tracker.first_open(PARTITION)) == (0, {}, 0)
    assert metrics.registry.get_sample_value("padellm_in_flight") == 0


async def test_intake_knows_the_last_sign_of_life_of_each_document(health, metrics):
    """An answer for one document is a sign of life of that one alone."""
    intake, tracker = _intake(gate := Gate(), health, metrics)
    answered = asyncio.Event()

    async def handle(record: Record, fetched: float) -> None:
        if record.offset == 0:
            await answered.wait()
            sign_of_life()
        await gate.handle(record, fetched)

    intake._handle = handle
    await _admit(intake, 0)
    await _admit(intake, 1)
    before = {entry.offset: entry.alive_at for _, entry in tracker.unfinished()}
    answered.set()
    await asyncio.sleep(0.01)
    after = {entry.offset: entry.alive_at for _, entry in tracker.unfinished()}
    assert after[0] > before[0]
    assert after[1] == before[1]
    gate.open.set()
    await intake.drain(1)
    assert list(tracker.unfinished()) == []


async def test_intake_says_whether_there_is_room(health, metrics):
    """Room ends with the most documents, or with bytes that the next one does not find."""
    limit = InFlightLimit(2, 1000, metrics)
    assert limit.has_room
    await limit.enter(600)
    assert limit.has_room is False
    waiting = asyncio.create_task(limit.enter(10))
    await asyncio.wait_for(waiting, 1)
    assert limit.has_room is False
    limit.leave(600)
    assert limit.has_room
