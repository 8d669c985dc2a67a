"""What the worker reads and sends, at the edges of what Kafka takes."""

import asyncio
import json

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream.kafka.topics import ensure_topics, missing_topics
from tests.integration.worker_fixture import Bench, event_ids

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
    told = {
        int(named["__dlq.errors.offset"]): (size, named["padellm.reason"], named.get("padellm.truncated"))
        for size, named in headers
    }
    assert told == {
        0: (0, b"not_json", b"3000000"),
        1: (0, b"event_too_large", str(len(large_event)).encode()),
        2: (13, b"not_json", None),
    }
    assert set(event_ids(records, bench.settings.entities_topic)) == {"good"}


async def test_worker_messages_wait_for_their_topics(bench: Bench):
    """A worker that starts before its topics says which are missing, and serves once they are there."""
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
    admin = await _admin(bench)
    try:
        (answer,) = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, bench.settings.documents_topic)]
        )
    finally:
        await admin.close()
    (resource,) = answer.resources
    values = {entry[0]: entry[1] for entry in resource[4]}
    assert values["max.message.bytes"] == str(bench.settings.max_message_bytes)


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
