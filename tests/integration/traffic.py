"""Documents at an even pace, and the time at which each outcome became visible: gaps of service."""

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from aiokafka import AIOKafkaConsumer

from tests.integration.worker_fixture import Bench

PARTITIONS = 4
_PACE = 0.25
_PATIENCE = 90.0


@dataclass(frozen=True)
class SeenOutcome:
    """An outcome that a reader of committed records has seen.

    Attributes:
        at: ``time.monotonic()``.
        made: ``time.time()`` of the worker when it sent the outcome.
        partition: Partition of its document.
        document: Id of its document.
    """

    at: float
    made: float
    partition: int
    document: str


class OutcomeReader:
    """Reads all events from the start, in the background; to be entered."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.seen: list[SeenOutcome] = []
        self._documents: set[str] = set()

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await _cancelled(self._reading)

    async def until(self, count: int) -> None:
        """Wait until so many different documents have their outcomes."""
        began = time.monotonic()
        while len(self._documents) < count:
            last = max(began, self.seen[-1].at) if self.seen else began
            assert time.monotonic() - last < _PATIENCE, f"{len(self._documents)} of {count} outcomes: {self}"
            assert not self._reading.done(), self._reading
            await asyncio.sleep(0.02)

    def repeats(self) -> int:
        """Outcomes beyond the first of each document."""
        return len(self.seen) - len(self._documents)

    def __repr__(self) -> str:
        return f"outcomes by partition: {dict(Counter(each.partition for each in self.seen))}"

    def longest_gaps(self, since: float) -> dict[int, float]:
        """Longest time without an outcome, by partition, in seconds.

        Args:
            since: Begin of the time that is looked at, as ``time.monotonic()``.
        """
        gaps = {}
        for partition in range(PARTITIONS):
            times = [each.at for each in self.seen if each.partition == partition and each.at > since]
            gaps[partition] = max(
                (after - before for before, after in zip([since, *times], times, strict=False)),
                default=float("inf"),
            )
        return gaps

    async def _read(self) -> None:
        async with AIOKafkaConsumer(
            self._bench.settings.entities_topic,
            bootstrap_servers=self._bench.settings.broker,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=50,
        ) as consumer:
            while True:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    new = [_seen(record) for record in records]
                    self.seen += new
                    self._documents.update(each.document for each in new)


class Traffic(OutcomeReader):
    """A reader, and a document for each partition every 250 ms until ``stop``; to be entered."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._stopping = asyncio.Event()
        self.sent = 0

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send())
        return await super().__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await _cancelled(self._sending)
        await super().__aexit__(*error)

    async def stop(self) -> None:
        """Send no more, and wait until each document has its outcome."""
        self._stopping.set()
        await self._sending
        await self.until(self.sent)

    async def _send(self) -> None:
        async with self._bench.producer() as producer:
            while not self._stopping.is_set():
                for partition in range(PARTITIONS):
                    value = json.dumps({"id": f"doc-{self.sent}", "text": "Ada"}).encode()
                    await producer.send(self._bench.settings.documents_topic, value, partition=partition)
                    self.sent += 1
                await asyncio.sleep(_PACE)


def _seen(record: Any) -> SeenOutcome:
    event = json.loads(record.value)
    return SeenOutcome(
        time.monotonic(), record.timestamp / 1000, event["source"]["partition"], event["document_id"]
    )


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
