"""Admission of records: at most so many documents in flight."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import structlog

from stream.backoff import pauses
from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.worker.health_state import HealthState
from stream.worker.metrics import WorkerMetrics
from stream.worker.offset_tracker import Entry, OffsetTracker, Partition
from stream.worker.publisher import PartitionLost

_log = structlog.get_logger(__name__)
_entry: ContextVar[Entry | None] = ContextVar("entry", default=None)
Handle = Callable[[Record, float], Awaitable[None]]


def sign_of_life() -> None:
    """Note that the document of the present task has moved forward."""
    if (entry := _entry.get()) is not None:
        entry.alive_at = time.monotonic()


class InFlightLimit:
    """Bound of the documents in flight, and of the bytes they hold together.

    A document larger than the bound in bytes travels alone.
    """

    def __init__(self, documents: int, size: int, metrics: WorkerMetrics) -> None:
        self._documents = documents
        self._size = size
        self._bytes = 0
        self.count = 0
        self._next = 0  # size of the document that waits for a place
        self._left = asyncio.Event()
        metrics.in_flight.set_function(lambda: self.count)
        metrics.in_flight_bytes.set_function(lambda: self._bytes)

    async def enter(self, size: int) -> None:
        """Wait for a place."""
        self._next = size
        while not self._fits(size):
            self._left.clear()
            await self._left.wait()
        self.count += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        """Give the place back."""
        self.count -= 1
        self._bytes -= size
        self._left.set()

    @property
    def has_room(self) -> bool:
        """Room for the next document."""
        return self._fits(self._next)

    def _fits(self, size: int) -> bool:
        return self.count == 0 or (self.count < self._documents and self._bytes + size <= self._size)


class Intake:
    """Starts a task for each document, and lets the tracker acknowledge them in order."""

    def __init__(
        self, handle: Handle, tracker: OffsetTracker, limit: InFlightLimit, health: HealthState
    ) -> None:
        self._handle = handle
        self._tracker = tracker
        self._limit = limit
        self._health = health
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Documents in flight."""
        return len(self._tasks)

    async def admit(
        self, partition: Partition, generation: int, record: Record, *, current: Callable[[], bool]
    ) -> None:
        """Start a record's way; waits while the limit is reached.

        Args:
            partition: Where its offset is committed.
            generation: The group's generation in which it was fetched.
            record: The record.
            current: Whether that generation still holds, asked after the wait: a record that has been taken
                away meanwhile comes again, here or to another worker.
        """
        fetched = time.monotonic()
        size = len(record.value or b"")
        await self._limit.enter(size)
        entry = self._tracker.open(partition, generation, record.offset) if current() else None
        if entry is None:
            self._limit.leave(size)
            return
        if not self._tasks:
            self._health.progress()
        task = asyncio.create_task(self._run(record, entry, fetched))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, limit: float) -> None:
        """Let the documents in flight end, for so many seconds; what has not ended then is abandoned.

        An abandoned document was not acknowledged, so that the next owner of its partition reads it again.
        """
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=limit)
        for task in late:
            task.cancel()
        if late:
            _log.warning("in-flight documents abandoned", documents=len(late), waited_seconds=limit)
            await asyncio.wait(late, timeout=limit)

    async def _run(self, record: Record, entry: Entry, fetched: float) -> None:
        _entry.set(entry)
        try:
            await self._until_handled(record, fetched)
            self._tracker.finish(entry)
            self._health.progress()
        except PartitionLost:
            pass  # its next owner reads it again
        finally:
            self._limit.leave(len(record.value or b""))

    async def _until_handled(self, record: Record, fetched: float) -> None:
        """Handle a record again until it has an outcome: not even a dead letter may be publishable now."""
        operation = f"outcome of {record.position}"
        for pause in pauses(first=0.5, longest=10.0):
            try:
                await self._handle(record, fetched)
            except PartitionLost:
                raise
            except Exception as error:  # noqa: BLE001 - a document is acknowledged with an outcome or not at all
                _log.exception("publish failed, retrying", position=record.position)
                if isinstance(error, DeliveryError):
                    self._health.broker.failed(operation, error)
                await asyncio.sleep(pause)
            else:
                self._health.broker.worked(operation)
                return
