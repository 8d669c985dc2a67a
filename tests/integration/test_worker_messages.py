"""Messages that the worker reads and sends, at the edges of Kafka's limits."""

import asyncio
import json
import time
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from stream.kafka.reader import read_topic
from stream.kafka.topics import ensure_topics, missing_topics
from tests.integration.worker_fixture import Bench, event_ids
from tests.kafka.test_lenient_records import NotUtf8

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_worker_messages_may_be_compressed(bench: Bench, codec: str):
    """Whatever a producer compresses with, its documents are read."""
    worker = bench.start_worker()
    await worker.is_ready()
    async with bench.producer(compression_type=codec) as producer:
        value = json.dumps({"id": "packed", "text": "Ada " * 500}).encode()
        await producer.send_and_wait(bench.settings.documents_topic, value)
    records = await bench.outcomes(lambda records: len(records) >= 1)
    assert set(event_ids(records, bench.settings.entities_topic)) == {"packed"}


async def test_worker_messages_that_no_topic_takes_are_cut(bench: Bench):
    """With topics of small limits a large event becomes a dead letter, and a large dead letter is cut."""
    names = (bench.settings.entities_topic, bench.settings.dead_letters_topic)
    await _limit(bench, names, 50_000)
    worker = bench.start_worker()
    await worker.is_ready()
    async with bench.producer() as producer:
        large_event = json.dumps({"text": "Ada", "metadata": {"x": "y" * 60_000}}).encode()
        for value in (b"x" * 3_000_000, large_event, b"small and bad", b'{"id": "good", "text": "Ada"}'):
            await producer.send_and_wait(bench.settings.documents_topic, value, key=b"k", partition=0)
    records = await bench.outcomes(lambda records: len(records) >= 4)
    headers = [
        (len(record.value), dict(record.headers))
        for record in records
        if record.topic == bench.settings.dead_letters_topic
    ]
    found = {
        int(named["__dlq.errors.offset"]): (size, named["padellm.reason"], named.get("padellm.truncated"))
        for size, named in headers
    }
    assert found == {
        0: (0, b"not_json", b"3000000"),
        1: (0, b"event_too_large", str(len(large_event)).encode()),
        2: (13, b"not_json", None),
    }
    assert set(event_ids(records, bench.settings.entities_topic)) == {"good"}


async def test_worker_messages_wait_for_their_topics(bench: Bench):
    """A worker that starts before its topics names the missing ones, and serves once they are there."""
    settings = bench.settings.model_copy(update={"documents_topic": f"{bench.settings.documents_topic}-late"})
    assert await missing_topics(settings) == [settings.documents_topic]
    worker = bench.start_worker(documents_topic=settings.documents_topic)
    while settings.documents_topic not in (await worker.page("/readyz"))[1]:  # noqa: ASYNC110 - a process
        await asyncio.sleep(0.1)
    assert await ensure_topics(settings, partitions=2) == [settings.documents_topic]
    assert await ensure_topics(settings) == []
    await worker.is_ready()


async def test_worker_messages_topics_take_the_largest_documents(bench: Bench):
    """Topics are made for messages of the size in the settings."""
    values = await _topic_settings(bench)
    assert values["max.message.bytes"] == str(bench.settings.max_message_bytes)


async def test_worker_messages_of_any_age_stay_in_the_embedded_kafka(bench: Bench):
    """A record sent with its time of years ago is not deleted unread: the topic is bounded by its size."""
    values = await _topic_settings(bench)
    assert values["retention.ms"] == "-1"
    assert int(values["retention.bytes"]) > bench.settings.max_message_bytes


async def _topic_settings(bench: Bench) -> dict[str, str]:
    """Settings of the documents topic, by name."""
    wanted = [ConfigResource(ConfigResourceType.TOPIC, bench.settings.documents_topic)]
    admin = await _admin(bench)
    entries: list[Any] = []
    try:
        while not entries:  # a topic made just now is not known everywhere
            (answer,) = await admin.describe_configs(wanted)
            ((*_, entries),) = answer.resources
    finally:
        await admin.close()
    return {entry[0]: entry[1] for entry in entries}


async def test_worker_messages_header_name_that_is_not_utf8(bench: Bench, monkeypatch):
    """Such a record, which ends other consumers, becomes a dead letter; its neighbours become events."""
    worker = bench.start_worker()
    await worker.is_ready()
    for module in ("message_accumulator", "producer"):  # the compiled one takes no other names
        monkeypatch.setattr(
            f"aiokafka.producer.{module}.DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy
        )
    async with bench.producer(linger_ms=200) as producer:
        sent = [
            await producer.send(
                bench.settings.documents_topic,
                json.dumps({"id": name, "text": "Ada"}).encode(),
                headers=[(header, b"1")],
                partition=0,
            )
            for name, header in (("before", "h"), ("bad", NotUtf8()), ("after", "h"))
        ]
        await asyncio.gather(*sent)
    records = await bench.outcomes(lambda records: len(records) >= 3)
    assert set(event_ids(records, bench.settings.entities_topic)) == {"before", "after"}
    (letter,) = [record for record in records if record.topic == bench.settings.dead_letters_topic]
    assert dict(letter.headers)["padellm.reason"] == b"not_utf8"
    assert letter.headers[0] == (r"\xff\xfename", b"1")
    assert worker.process.poll() is None
    reading = read_topic(
        bench.settings.documents_topic, settings=bench.settings, from_beginning=True, follow=False
    )
    assert len([record async for record in reading]) == 3


async def test_worker_messages_timestamp_that_is_no_date(bench: Bench):
    """A document with a timestamp in microseconds, or before the year 1, becomes an event."""
    await _configure(
        bench, bench.settings.documents_topic, **{"message.timestamp.after.max.ms": str(2**63 - 1)}
    )
    worker = bench.start_worker()
    await worker.is_ready()
    async with bench.producer() as producer:
        for timestamp in (int(time.time() * 1e6), -62_135_596_900_000, 0):
            value = json.dumps({"id": str(timestamp), "text": "Ada"}).encode()
            await producer.send_and_wait(
                bench.settings.documents_topic, value, timestamp_ms=timestamp, partition=0
            )
    records = await bench.outcomes(lambda records: len(records) >= 3)
    assert len(event_ids(records, bench.settings.entities_topic)) == 3


async def test_worker_messages_compacted_dead_letter_topic(bench: Bench):
    """A bad record without a key becomes a dead letter with one where the topic is compacted."""
    await _configure(bench, bench.settings.dead_letters_topic, **{"cleanup.policy": "compact"})
    worker = bench.start_worker()
    await worker.is_ready()
    async with bench.producer() as producer:
        for value in (b"not json", b'{"text": "Ada"}', b"nor this"):
            await producer.send_and_wait(bench.settings.documents_topic, value, partition=0)
    records = await bench.outcomes(lambda records: len(records) >= 3)
    topic = bench.settings.documents_topic
    letters = {
        record.key: record.value for record in records if record.topic != bench.settings.entities_topic
    }
    assert letters == {f"{topic}/0/0".encode(): b"not json", f"{topic}/0/2".encode(): b"nor this"}
    await bench.until_committed({0: 3})
    await worker.is_ready()


async def _configure(bench: Bench, topic: str, **configuration: str) -> None:
    admin = await _admin(bench)
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configuration)])
    finally:
        await admin.close()


async def _limit(bench: Bench, names: tuple[str, ...], size: int) -> None:
    """Make the topics anew, with a limit of their own."""
    admin = await _admin(bench)
    try:
        await admin.delete_topics(list(names))
        while set(names) & set(await admin.list_topics()):  # noqa: ASYNC110 - the broker's doing
            await asyncio.sleep(0.1)
        topics = [NewTopic(name, 1, 1, topic_configs={"max.message.bytes": str(size)}) for name in names]
        await admin.create_topics(topics)
    finally:
        await admin.close()


async def _admin(bench: Bench) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.broker)
    await admin.start()
    return admin
