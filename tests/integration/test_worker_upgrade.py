"""Workers that are restarted, added and doubled. On a real broker."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from stream.settings import Delivery
from tests.integration.interruptions import assignments, rolling_restart
from tests.integration.worker_fixture import Bench

pytestmark = pytest.mark.integration


async def test_worker_upgrade_rolls_without_a_gap_or_a_repeat(bench: Bench):
    """Three static members restarted in turn: no partition moves or waits beyond that, nothing repeats."""
    figures = await rolling_restart(bench, Delivery.EXACTLY_ONCE, static=True)
    assert figures.rebalances == 0
    assert figures.repeats == 0
    assert figures.gap < figures.restart + 1


async def test_worker_upgrade_older_of_one_instance_id_is_fenced(bench: Bench):
    """Of two workers with one instance id the older ends and names the cause; the newer serves on."""
    older = bench.start_worker(instance_id="one")
    await older.is_ready()
    newer = bench.start_worker(instance_id="one")
    await newer.is_ready()
    assert await asyncio.to_thread(older.process.wait, 60) == 1
    assert "PADELLM_INSTANCE_ID=one; give each worker an id of its own" in older.log.read_text()
    await bench.produce(*(f"Ada{n}" for n in range(20)))
    await bench.outcomes(lambda records: len(records) >= 20)
    assert newer.process.poll() is None
    assert assignments(newer) == [[0, 1, 2, 3]]


async def test_worker_upgrade_restarted_leader_finds_new_partitions(bench: Bench):
    """A static member that led its group and was restarted sees added partitions; exactly once."""
    options: dict[str, Any] = {
        "delivery": Delivery.EXACTLY_ONCE,
        "instance_id": "one",
        "session_timeout": 120.0,
    }
    first = bench.start_worker(**options)
    await first.is_ready()
    first.terminate()
    await bench.start_worker(**options).is_ready()
    await bench.produce(*(f"Ada{n} SLEEP 0.5" for n in range(40)), partition=0)
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.broker)
    await admin.start()
    await admin.create_partitions({bench.settings.documents_topic: NewPartitions(total_count=5)})
    await admin.close()
    await bench.produce("Eva", partition=4)
    records = await bench.outcomes(lambda records: len(records) >= 41, isolation_level="read_committed")
    assert len(records) == 41
    await bench.until_committed({0: 40, 4: 1})


async def test_worker_upgrade_second_signal_ends_it_at_once(bench: Bench, tmp_path: Path):
    """A second SIGTERM does not wait for a document that hangs; the next worker reads it again."""
    flag = tmp_path / "go"
    worker = bench.start_worker(drain_limit=60.0)
    await worker.is_ready()
    await bench.produce("Quick", f"Hangs WAIT-FOR {flag}", partition=0)
    await bench.outcomes(lambda records: len(records) >= 1)
    worker.process.terminate()
    while "stopping" not in {line["event"] for line in worker.lines()}:  # noqa: ASYNC110 - a process
        await asyncio.sleep(0.05)
    assert await asyncio.to_thread(worker.terminate) == 1
    assert worker.lines()[-1]["event"] == "forced exit"
    flag.touch()
    bench.start_worker()
    await bench.until_committed({0: 2})
