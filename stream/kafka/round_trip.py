"""Streams documents through a running service and waits for what becomes of each.

Every outcome names the position (partition, offset) of the record it is about: so outcomes are matched to
documents without trusting ids, the order of arrival, or that the topics were empty.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from stream.contract.messages import EntityEvent
from stream.errors import StackError
from stream.kafka.producer import Position, send
from stream.kafka.records import OutgoingRecord
from stream.settings import Settings

_FETCH_WAIT_MS = 500
_DEAD_LETTER = "__dlq.errors."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document: an event, or a dead letter with its reason."""

    topic: str
    position: Position
    event: EntityEvent | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a round trip.

    Attributes:
        seconds: From the first send to the last outcome.
        p50_ms: For half of the documents the outcome came so soon after the broker had confirmed them.
        p99_ms: The same for 99 in 100.
    """

    documents: int
    events: int
    dead_letters: int
    entities: int
    seconds: float
    documents_per_second: float
    p50_ms: float
    p99_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded, for JSON."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


async def round_trip(
    records: Iterable[OutgoingRecord],
    *,
    settings: Settings,
    on_outcome: Callable[[OutgoingRecord, Outcome], None],
    stall_limit: float,
) -> Summary:
    """Produce the records and wait until each has its outcome.

    Args:
        records: What to send.
        settings: Broker and topics; they must exist.
        on_outcome: Called with every record and what became of it, as soon as it is known.
        stall_limit: Seconds without any new outcome after which to give up.

    Raises:
        StackError: Outcomes are missing, or a document has more than one.
        DeliveryError: The broker did not take a record.
    """
    ledger = _Ledger(on_outcome)
    consumer = AIOKafkaConsumer(
        settings.entities_topic, settings.dead_letters_topic, bootstrap_servers=settings.broker, group_id=None
    )
    await consumer.start()
    try:
        await _go_to_end(consumer)
        reader = asyncio.create_task(_read(consumer, settings, ledger))
        started = time.perf_counter()
        sent = await send(records, settings=settings, on_confirmed=ledger.confirmed)
        await _wait_for_all(ledger, reader, sent, stall_limit)
        await _read_to_end(consumer, settings, ledger)
    finally:
        await consumer.stop()
    return ledger.summary(started)


@dataclass
class _Ledger:
    """Who was confirmed when, and what came of it when."""

    on_outcome: Callable[[OutgoingRecord, Outcome], None]
    records: dict[Position, tuple[OutgoingRecord, float]] = field(default_factory=dict)
    outcomes: dict[Position, list[tuple[Outcome, float]]] = field(default_factory=dict)
    answered: int = 0

    def confirmed(self, record: OutgoingRecord, position: Position) -> None:
        self.records[position] = (record, time.perf_counter())
        if position in self.outcomes:  # the event can overtake the confirmation
            self._answer(record, position)

    def came(self, outcome: Outcome) -> None:
        earlier = self.outcomes.setdefault(outcome.position, [])
        earlier.append((outcome, time.perf_counter()))
        if len(earlier) == 1 and outcome.position in self.records:
            self._answer(self.records[outcome.position][0], outcome.position)

    def _answer(self, record: OutgoingRecord, position: Position) -> None:
        self.answered += 1
        self.on_outcome(record, self.outcomes[position][0][0])

    def doubles(self) -> list[Position]:
        return [position for position in self.records if len(self.outcomes[position]) > 1]

    def summary(self, started: float) -> Summary:
        if doubles := self.doubles():
            raise StackError(f"{len(doubles)} documents have more than one outcome, first at {doubles[0]}")
        mine = [self.outcomes[position][0] for position in self.records]
        events = [outcome.event for outcome, _ in mine if outcome.event is not None]
        seconds = max((at for _, at in mine), default=started) - started
        latencies = [
            (self.outcomes[position][0][1] - confirmed) * 1000
            for position, (_, confirmed) in self.records.items()
        ]
        return Summary(
            documents=len(mine),
            events=len(events),
            dead_letters=len(mine) - len(events),
            entities=sum(len(event.entities) for event in events),
            seconds=seconds,
            documents_per_second=len(mine) / seconds if seconds else 0.0,
            p50_ms=_percentile(latencies, 50),
            p99_ms=_percentile(latencies, 99),
        )


async def _go_to_end(consumer: AIOKafkaConsumer) -> None:
    """Stand at the end of every partition: what earlier runs left is not ours."""
    await consumer.seek_to_end()
    for partition in consumer.assignment():
        await consumer.position(partition)


async def _read(consumer: AIOKafkaConsumer, settings: Settings, ledger: _Ledger) -> None:
    while True:
        _note(await consumer.getmany(timeout_ms=_FETCH_WAIT_MS), settings, ledger)


async def _read_to_end(consumer: AIOKafkaConsumer, settings: Settings, ledger: _Ledger) -> None:
    """Read what is there already, so that a second outcome of a document is noticed."""
    ends = await consumer.end_offsets(list(consumer.assignment()))
    for partition, end in ends.items():
        while await consumer.position(partition) < end:
            _note(await consumer.getmany(timeout_ms=_FETCH_WAIT_MS), settings, ledger)


async def _wait_for_all(ledger: _Ledger, reader: asyncio.Task[None], sent: int, stall_limit: float) -> None:
    answered, since = -1, time.monotonic()
    try:
        while ledger.answered < sent:
            if ledger.answered > answered:
                answered, since = ledger.answered, time.monotonic()
            if time.monotonic() - since > stall_limit:
                raise StackError(
                    f"{sent - answered} of {sent} documents have had no outcome, "
                    f"and none came for {stall_limit:.0f} seconds"
                )
            await asyncio.wait([reader], timeout=0.02)
            if reader.done():
                reader.result()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


def _note(
    batches: dict[TopicPartition, Sequence[ConsumerRecord]], settings: Settings, ledger: _Ledger
) -> None:
    for partition, batch in batches.items():
        read = _event if partition.topic == settings.entities_topic else _dead_letter
        for message in batch:
            outcome = read(message)
            if outcome is not None and outcome.topic == settings.documents_topic:
                ledger.came(outcome)


def _event(message: ConsumerRecord) -> Outcome:
    event = EntityEvent.model_validate_json(message.value)
    return Outcome(event.source.topic, (event.source.partition, event.source.offset), event)


def _dead_letter(message: ConsumerRecord) -> Outcome | None:
    headers = {name: value.decode() for name, value in message.headers if name.startswith(_DEAD_LETTER)}
    try:
        position = (int(headers[f"{_DEAD_LETTER}partition"]), int(headers[f"{_DEAD_LETTER}offset"]))
        return Outcome(headers[f"{_DEAD_LETTER}topic"], position, None, headers[f"{_DEAD_LETTER}message"])
    except KeyError:  # put there by another program
        return None


def _percentile(values: Sequence[float], percent: int) -> float:
    if len(values) < 2:  # noqa: PLR2004 - quantiles need two
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
