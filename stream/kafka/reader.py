"""Reads topics for people and tests: no consumer group, nothing is committed."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from pydantic import BaseModel, ValidationError

from stream.contract.headers import read_dead_letter
from stream.contract.messages import DeadLetter, EntityEvent, EntityRow, Source
from stream.contract.record import Record
from stream.errors import DeliveryError, ForeignRecord
from stream.kafka.access import BrokerAccess
from stream.kafka.lenient_records import decode_leniently
from stream.kafka.topics import partitions_of
from stream.settings import Settings

Message = TypeVar("Message", bound=BaseModel)

_WAIT_MS = 500
_NEWEST_LIMIT = 60.0
_SOURCE_WAIT_MS = 2000
_TEXTS_KEPT = 2000


async def read_topic(
    topic: str, *, settings: Settings, from_beginning: bool, follow: bool, since: datetime | None = None
) -> AsyncGenerator[ConsumerRecord]:
    """Records of a topic, in order within a partition, without those of aborted transactions.

    Args:
        topic: Its name.
        settings: Names the broker.
        from_beginning: Start with the oldest record, not at the end.
        follow: Go on with new records; else stop at the end as it was at the start.
        since: Start each partition with its first record of this time or later instead; not before 1970.

    Raises:
        DeliveryError: The broker does not answer, or has no such topic.
    """
    async with open_consumer(settings, topic, from_beginning=from_beginning) as consumer:
        partitions = list(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        if since is not None:
            milliseconds = int(since.timestamp() * 1000)
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
            for each, first in found.items():
                consumer.seek(each, ends[each] if first is None else first.offset)
        while follow or [each for each in partitions if await consumer.position(each) < ends[each]]:
            for batch in (await consumer.getmany(timeout_ms=_WAIT_MS)).values():
                for record in batch:
                    yield record


@asynccontextmanager
async def open_consumer(
    settings: Settings, *topics: str, from_beginning: bool
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of all partitions of topics, positioned at their beginning or their end.

    Raises:
        DeliveryError: The broker does not answer, or lacks a topic.
    """
    decode_leniently()
    access = BrokerAccess(settings)
    consumer = AIOKafkaConsumer(
        **access.options,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    try:
        await consumer.start()
        # Assigned, not subscribed to: a subscription to a missing topic might create it.
        consumer.assign(await partitions_of(settings, *topics))
        await (consumer.seek_to_beginning() if from_beginning else consumer.seek_to_end())
        for partition in consumer.assignment():
            await consumer.position(partition)  # a seek takes effect here, not at the first record asked for
        yield consumer
    except (KafkaError, OSError) as error:
        raise DeliveryError(
            f"the Kafka broker at {settings.broker} does not answer: {access.explained(error)}"
        ) from error
    finally:
        await consumer.stop()


async def newest_records(topic: str, *, settings: Settings, limit: int) -> list[Record]:
    """The newest records of a topic, the oldest of them first; fewer where its partitions hold fewer.

    Raises:
        DeliveryError: The broker does not answer, has no such topic, or does not hand its records out.
    """
    async with open_consumer(settings, topic, from_beginning=True) as consumer:
        partitions = list(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        for each, first in (await consumer.beginning_offsets(partitions)).items():
            consumer.seek(each, max(first, ends[each] - limit))
        records: list[Record] = []
        try:
            async with asyncio.timeout(_NEWEST_LIMIT):
                while [each for each in partitions if await consumer.position(each) < ends[each]]:
                    for batch in (await consumer.getmany(timeout_ms=_WAIT_MS)).values():
                        records += map(as_record, batch)
        except TimeoutError as error:
            raise DeliveryError(
                f"the broker at {settings.broker} has not handed out the newest records of {topic} "
                f"within {_NEWEST_LIMIT:g} s"
            ) from error
    return sorted(records, key=lambda record: record.timestamp or 0.0)[-limit:]


def as_record(consumed: ConsumerRecord) -> Record:
    """A record as the worker sees it."""
    return Record(
        topic=consumed.topic,
        partition=consumed.partition,
        offset=consumed.offset,
        timestamp=consumed.timestamp / 1000 if consumed.timestamp != -1 else None,
        key=consumed.key,
        value=consumed.value,
        headers=tuple(consumed.headers),
    )


def read_event(record: ConsumerRecord) -> EntityEvent:
    """The event in a record of the entities topic.

    Raises:
        ForeignRecord: It holds none.
    """
    return _read(record, EntityEvent, "an entity event")


def read_row(record: ConsumerRecord) -> EntityRow:
    """The row in a record of the topic of rows.

    Raises:
        ForeignRecord: It holds none.
    """
    return _read(record, EntityRow, "a row of an entity")


def _read(record: ConsumerRecord, model: type[Message], noun: str) -> Message:
    if record.value is None:
        raise ForeignRecord(f"{_position(record)} is a tombstone, not {noun}")
    try:
        return model.model_validate_json(record.value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ForeignRecord(
            f"{_position(record)} is not {noun}: {field + ': ' if field else ''}{first['msg']}"
        ) from error


def read_letter(record: ConsumerRecord) -> DeadLetter:
    """The dead letter in a record of the dead-letter topic.

    Raises:
        ForeignRecord: Its headers do not make it one.
    """
    letter = read_dead_letter(record.headers)
    if letter is None:
        raise ForeignRecord(f"{_position(record)} is not a dead letter: it lacks the headers of one")
    return letter


Texts = Mapping[str | None, str]
"""Texts of a document by the JSON Pointers of their fields; None for the one text of a document without."""
ReadTexts = Callable[[Record], Awaitable[Texts]]


@asynccontextmanager
async def source_texts(settings: Settings, read: ReadTexts) -> AsyncIterator["SourceTexts"]:
    """Look up the documents that events are about.

    Args:
        settings: Name the broker and the documents topic.
        read: Gives the texts in a record of it; none where it holds no document.

    Raises:
        DeliveryError: The broker does not answer, or has no documents topic.
    """
    async with open_consumer(settings, settings.documents_topic, from_beginning=False) as consumer:
        yield SourceTexts(consumer, read)


class SourceTexts:
    """Texts of documents by the position of their record; neighbours are fetched and kept together."""

    def __init__(self, consumer: AIOKafkaConsumer, read: ReadTexts) -> None:
        self._consumer = consumer
        self._read = read
        self._texts: OrderedDict[Source, Texts] = OrderedDict()

    async def texts(self, source: Source) -> Texts:
        """The document's texts; none when its record is gone or holds no document."""
        if source not in self._texts:
            await self._fetch(source)
        return self._texts.get(source, {})

    async def _fetch(self, source: Source) -> None:
        partition = TopicPartition(source.topic, source.partition)
        if partition not in self._consumer.assignment():  # an event about another topic
            return
        ends = await self._consumer.end_offsets([partition])
        if source.offset >= ends[partition]:  # a topic that was created anew, or an offset that cannot be
            return
        self._consumer.seek(partition, source.offset)
        batch = await self._consumer.getmany(partition, timeout_ms=_SOURCE_WAIT_MS)
        for record in batch.get(partition, ()):
            at = Source(topic=record.topic, partition=record.partition, offset=record.offset)
            self._texts[at] = await self._read(as_record(record))
        while len(self._texts) > _TEXTS_KEPT:
            self._texts.popitem(last=False)


def _position(record: ConsumerRecord) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
