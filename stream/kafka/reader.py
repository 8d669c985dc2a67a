"""Reads topics for people and tests: no consumer group, nothing is committed."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from pydantic import ValidationError

from stream.contract.messages import Document, Source
from stream.errors import DeliveryError
from stream.settings import Settings

_WAIT_MS = 500
_SOURCE_WAIT_MS = 2000
_TEXTS_KEPT = 2000


async def read_topic(
    topic: str, *, settings: Settings, from_beginning: bool, follow: bool
) -> AsyncGenerator[ConsumerRecord]:
    """Records of a topic, in order within a partition.

    Args:
        topic: Its name.
        settings: Names the broker.
        from_beginning: Start with the oldest record, not at the end.
        follow: Go on with what comes; else stop at the end as it was at the start.

    Raises:
        DeliveryError: The broker does not answer, or has no such topic.
    """
    async with _consumer(settings, topic) as consumer:
        partitions = list(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        await (consumer.seek_to_beginning() if from_beginning else consumer.seek_to_end())
        for partition in partitions:
            await consumer.position(partition)  # stand there now, not when the first record is asked for
        while follow or [each for each in partitions if await consumer.position(each) < ends[each]]:
            for batch in (await consumer.getmany(timeout_ms=_WAIT_MS)).values():
                for record in batch:
                    yield record


@asynccontextmanager
async def source_texts(settings: Settings) -> AsyncIterator["SourceTexts"]:
    """Looks up the documents that events are about.

    Raises:
        DeliveryError: The broker does not answer, or has no documents topic.
    """
    async with _consumer(settings, settings.documents_topic) as consumer:
        yield SourceTexts(consumer)


class SourceTexts:
    """Texts of documents by the position of their record; neighbours are fetched and kept together."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._texts: OrderedDict[Source, str | None] = OrderedDict()

    async def text(self, source: Source) -> str | None:
        """The document's text, or None when its record is gone or holds none."""
        if source not in self._texts:
            await self._fetch(source)
        return self._texts.get(source)

    async def _fetch(self, source: Source) -> None:
        partition = TopicPartition(source.topic, source.partition)
        if partition not in self._consumer.assignment():  # an event about another topic
            return
        self._consumer.seek(partition, source.offset)
        batch = await self._consumer.getmany(partition, timeout_ms=_SOURCE_WAIT_MS)
        for record in batch.get(partition, ()):
            at = Source(topic=record.topic, partition=record.partition, offset=record.offset)
            self._texts[at] = _text(record.value)
        while len(self._texts) > _TEXTS_KEPT:
            self._texts.popitem(last=False)


@asynccontextmanager
async def _consumer(settings: Settings, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of all partitions of a topic."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.broker,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        consumer.assign(await _partitions(settings, topic))
        yield consumer
    except (KafkaError, OSError) as error:
        raise DeliveryError(f"the Kafka broker at {settings.broker} does not answer: {error}") from error
    finally:
        await consumer.stop()


async def _partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    """A topic's partitions. Asked for in a way that does not make the topic, as a subscription might."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.broker)
    try:
        await admin.start()
        if topic not in await admin.list_topics():
            raise DeliveryError(
                f"the broker at {settings.broker} has no topic {topic}: padellm up and padellm worker make it"
            )
        (description,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return [TopicPartition(topic, each["partition"]) for each in description["partitions"]]


def _text(value: bytes | None) -> str | None:
    try:
        return Document.model_validate_json(value or b"").text
    except ValidationError:
        return None
