"""Positions that move: logs that went back, partitions that are added. On a real broker."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete

from stream.settings import Delivery
from tests.integration.worker_fixture import Bench, event_ids

pytestmark = pytest.mark.integration
_SOON = 40.0  # 30 s for the metadata, and the rebalance


@asynccontextmanager
async def _admin(bench: Bench) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.broker)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _commit(bench: Bench, offset: int) -> None:
    """Commit an offset of partition 0 for the workers' group."""
    partition = TopicPartition(bench.settings.documents_topic, 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=bench.settings.broker, group_id=bench.settings.group, enable_auto_commit=False
    ) as consumer:
        consumer.assign([partition])
        await consumer.commit({partition: offset})


async def test_worker_position_beyond_the_end_starts_at_the_beginning(bench: Bench):
    """A committed offset beyond the log's end, after a restore, hides no record; the log line names it."""
    await bench.produce(*(f"Ada{n}" for n in range(8)), partition=0)
    await _commit(bench, 1000)
    worker = bench.start_worker()
    await worker.is_ready()
    records = await bench.outcomes(lambda records: len(records) >= 8)
    assert len(event_ids(records, bench.settings.entities_topic)) == 8
    await bench.until_committed({0: 8})
    (line,) = [line for line in worker.lines() if line["event"].startswith("log ends before the position")]
    assert (line["partition"], line["position"], line["start"]) == (0, 1000, 0)


@pytest.mark.parametrize("delivery", [*Delivery])
async def test_worker_position_behind_the_start_says_what_was_deleted(bench: Bench, delivery: Delivery):
    """Retention that overtakes a worker costs the deleted documents alone, and is an error and a metric."""
    await bench.produce(*(f"Ada{n}" for n in range(10)), partition=0)
    await _commit(bench, 2)
    async with _admin(bench) as admin:
        partition = TopicPartition(bench.settings.documents_topic, 0)
        await admin.delete_records({partition: RecordsToDelete(before_offset=6)})
    worker = bench.start_worker(delivery=delivery)
    records = await bench.outcomes(lambda records: len(records) >= 4, isolation_level="read_committed")
    assert set(event_ids(records, bench.settings.entities_topic)) == {f"doc-{n}" for n in range(6, 10)}
    await bench.until_committed({0: 10})
    (line,) = [line for line in worker.lines() if line["event"] == "records deleted unread"]
    assert (line["partition"], line["position"], line["start"]) == (0, 2, 6)
    assert await worker.metric("padellm_records_deleted_unread_total") == 4


async def test_worker_position_starts_in_new_partitions(bench: Bench):
    """Partitions that are added while a worker runs are read soon."""
    worker = bench.start_worker()
    await worker.is_ready()
    async with _admin(bench) as admin:
        await admin.create_partitions({bench.settings.documents_topic: NewPartitions(total_count=5)})
    await bench.produce("Ada", partition=4)
    began = time.monotonic()
    await bench.outcomes(lambda records: len(records) >= 1)
    assert time.monotonic() - began < _SOON
