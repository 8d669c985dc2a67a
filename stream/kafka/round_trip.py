"""Streams documents through a running service and waits for the outcome of each.

Every outcome names the position (partition, offset) of its document's record. So outcomes are matched to
documents without trusting ids, the order of arrival, or that the topics were empty.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from stream.contract.messages import EntityEvent
from stream.errors import ForeignRecord, StackError
from stream.kafka.producer import Position, send
from stream.kafka.reader import open_consumer, read_event, read_letter
from stream.kafka.records import OutgoingRecord
from stream.settings import Settings

_FETCH_WAIT_MS = 500


@dataclass(frozen=True, slots=True)
class DocumentOutcome:
    """The end of a document: an event, or a dead letter with its message.

    Attributes:
        topic: Of the document.
        position: Of the document in its topic.
        event: None for a dead letter.
        reason: The dead letter's message.
    """

    topic: str
    position: Position
    event: EntityEvent | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a round trip.

    Attributes:
        repeats: Outcomes beyond the first of a document: delivery is at least once.
        seconds: From the first send to the last document's outcome.
        p50_ms: Median time from the broker's confirmation of a document to its outcome.
        p99_ms: 99th percentile of the same.
    """

    documents: int
    events: int
    dead_letters: int
    repeats: int
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
    on_outcome: Callable[[OutgoingRecord, DocumentOutcome], None],
    stall_limit: float = 180.0,
) -> Summary:
    """Produce the records and wait until each has its outcome.

    Args:
        records: Documents to send.
        settings: Broker and topics; they must exist.
        on_outcome: Called with every record and its first outcome, as soon as both are known.
        stall_limit: Seconds without any new outcome after which to give up.

    Raises:
        StackError: Outcomes are missing.
        DeliveryError: The broker did not take a record, or lacks a topic.
    """
    matcher = _Matcher(on_outcome)
    topics = settings.entities_topic, settings.dead_letters_topic
    async with open_consumer(settings, *topics, from_beginning=False) as consumer:
        reader = asyncio.create_task(_read(consumer, settings, matcher))
        started = time.perf_counter()
        try:
            sent = await send(records, settings=settings, on_confirmed=matcher.confirm)
            await _wait_for_all(matcher, reader, sent, stall_limit)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        await _read_to_end(consumer, settings, matcher)
    return matcher.summary(started)


@dataclass
class _Matcher:
    """Records and outcomes by position, each with the time at which it was known."""

    on_outcome: Callable[[OutgoingRecord, DocumentOutcome], None]
    records: dict[Position, tuple[OutgoingRecord, float]] = field(default_factory=dict)
    outcomes: dict[Position, list[tuple[DocumentOutcome, float]]] = field(default_factory=dict)
    matched: int = 0

    def confirm(self, record: OutgoingRecord, position: Position) -> None:
        self.records[position] = (record, time.perf_counter())
        if position in self.outcomes:  # the event can overtake the confirmation
            self._match(record, position)

    def add(self, outcome: DocumentOutcome) -> None:
        outcomes = self.outcomes.setdefault(outcome.position, [])
        outcomes.append((outcome, time.perf_counter()))
        if len(outcomes) == 1 and outcome.position in self.records:
            self._match(self.records[outcome.position][0], outcome.position)

    def _match(self, record: OutgoingRecord, position: Position) -> None:
        self.matched += 1
        self.on_outcome(record, self.outcomes[position][0][0])

    def summary(self, started: float) -> Summary:
        first = [self.outcomes[position][0] for position in self.records]
        events = [outcome.event for outcome, _ in first if outcome.event is not None]
        seconds = max((at for _, at in first), default=started) - started
        latencies = [
            (self.outcomes[position][0][1] - confirmed) * 1000
            for position, (_, confirmed) in self.records.items()
        ]
        return Summary(
            documents=len(first),
            events=len(events),
            dead_letters=len(first) - len(events),
            repeats=sum(len(self.outcomes[position]) - 1 for position in self.records),
            entities=sum(len(event.entities) for event in events),
            seconds=seconds,
            documents_per_second=len(first) / seconds if seconds else 0.0,
            p50_ms=_percentile(latencies, 50),
            p99_ms=_percentile(latencies, 99),
        )


async def _read(consumer: AIOKafkaConsumer, settings: Settings, matcher: _Matcher) -> None:
    while True:
        _add(await consumer.getmany(timeout_ms=_FETCH_WAIT_MS), settings, matcher)


async def _read_to_end(consumer: AIOKafkaConsumer, settings: Settings, matcher: _Matcher) -> None:
    """Read all that is there already, so that repeats are counted."""
    ends = await consumer.end_offsets(list(consumer.assignment()))
    for partition, end in ends.items():
        while await consumer.position(partition) < end:
            _add(await consumer.getmany(timeout_ms=_FETCH_WAIT_MS), settings, matcher)


async def _wait_for_all(matcher: _Matcher, reader: asyncio.Task[None], sent: int, stall_limit: float) -> None:
    matched, since = -1, time.monotonic()
    while matcher.matched < sent:
        if matcher.matched > matched:
            matched, since = matcher.matched, time.monotonic()
        if time.monotonic() - since > stall_limit:
            raise StackError(
                f"{sent - matched} of {sent} documents have no event and no dead letter, "
                f"and none came for {stall_limit:.0f} seconds"
            )
        await asyncio.wait([reader], timeout=0.02)
        if reader.done():
            reader.result()


def _add(
    batches: dict[TopicPartition, Sequence[ConsumerRecord]], settings: Settings, matcher: _Matcher
) -> None:
    for partition, batch in batches.items():
        read = _event_outcome if partition.topic == settings.entities_topic else _letter_outcome
        for record in batch:
            with suppress(ForeignRecord):  # another program's
                outcome = read(record)
                if outcome.topic == settings.documents_topic:
                    matcher.add(outcome)


def _event_outcome(record: ConsumerRecord) -> DocumentOutcome:
    event = read_event(record)
    return DocumentOutcome(event.source.topic, (event.source.partition, event.source.offset), event)


def _letter_outcome(record: ConsumerRecord) -> DocumentOutcome:
    letter = read_letter(record)
    return DocumentOutcome(letter.topic, (letter.partition, letter.offset), None, letter.message)


def _percentile(values: Sequence[float], percent: int) -> float:
    if len(values) < 2:  # noqa: PLR2004 - quantiles need two
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
