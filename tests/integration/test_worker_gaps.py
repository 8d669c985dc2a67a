"""A documents topic with gaps of every kind, on a real broker: each record that is left has its outcome."""

import asyncio
import json
import time
from collections import Counter
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream.contract.headers import read_dead_letter
from stream.settings import Delivery
from tests.integration.worker_fixture import Bench

pytestmark = pytest.mark.integration
_PATIENCE = 60.0
_HALF_AN_HOUR = 1800
_COMPACT_SOON = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "100",
}


@pytest.mark.parametrize("delivery", [*Delivery])
async def test_worker_gaps_hold_nothing_up(bench: Bench, delivery: Delivery):
    """Behind compacted and aborted records, a tombstone and a time ahead each record has one outcome."""
    await _configure(bench)
    sent = await _send(bench)
    left = await _once_compacted(bench, sent)
    bench.start_worker(delivery=delivery)
    records = await bench.outcomes(
        lambda records: len(records) >= len(left), isolation_level="read_committed"
    )
    assert Counter(_source(record, bench) for record in records) == Counter(left)
    await bench.until_committed({0: sent})


async def _configure(bench: Bench) -> None:
    """Let the broker compact the topic, within a second of its turn."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.broker)
    await admin.start()
    try:
        await admin.alter_configs(
            [
                ConfigResource(
                    ConfigResourceType.TOPIC, bench.settings.documents_topic, configs=_COMPACT_SOON
                ),
                ConfigResource(ConfigResourceType.BROKER, "1", configs={"log.cleaner.backoff.ms": "500"}),
            ]
        )
    finally:
        await admin.close()


async def _send(bench: Bench) -> int:
    """Send documents of three keys, aborted ones, a tombstone and one from later; returns the end offset."""
    topic = bench.settings.documents_topic
    documents = [(b"key-%d" % (number % 3), b'{"text": "Ada%d"}' % number) for number in range(12)]
    async with bench.producer(transactional_id=topic) as upstream:
        for key, value in documents:
            async with upstream.transaction():
                await upstream.send_and_wait(topic, value, key=key, partition=0)
            await upstream.begin_transaction()
            await upstream.send_and_wait(topic, value, key=b"aborted", partition=0)
            await upstream.abort_transaction()
    async with bench.producer() as upstream:
        later = int((time.time() + _HALF_AN_HOUR) * 1000)
        await upstream.send_and_wait(topic, None, key=b"key-0", partition=0)
        await upstream.send_and_wait(topic, b'{"text": "Eva"}', key=b"later", timestamp_ms=later, partition=0)
        await asyncio.sleep(0.2)  # the segment is old enough to end with the next record
        last = await upstream.send_and_wait(topic, b'{"text": "Bob"}', key=b"last", partition=0)
    return int(last.offset) + 1


async def _once_compacted(bench: Bench, end: int) -> list[int]:
    """Offsets of the records that are left, once no key but the last records' is there twice."""
    place = TopicPartition(bench.settings.documents_topic, 0)
    deadline = time.monotonic() + _PATIENCE
    while True:
        async with AIOKafkaConsumer(
            bootstrap_servers=bench.settings.broker,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        ) as consumer:
            consumer.assign([place])
            left: list[Any] = []
            while await consumer.position(place) < end:
                left += [
                    record for batch in (await consumer.getmany(timeout_ms=200)).values() for record in batch
                ]
        if max(Counter(record.key for record in left).values()) == 1:
            return [record.offset for record in left]
        assert time.monotonic() < deadline, f"not compacted: {[(each.key, each.offset) for each in left]}"
        await asyncio.sleep(0.5)


def _source(record: Any, bench: Bench) -> int:
    """Offset of the document that an outcome answers."""
    if record.topic == bench.settings.entities_topic:
        return int(json.loads(record.value)["source"]["offset"])
    letter = read_dead_letter(record.headers)
    assert letter is not None
    return letter.offset
