"""No document is lost, whatever dies: the worker, a neighbour, the broker, the model. On a real broker."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from stream.settings import Delivery
from tests.integration.interruptions import broker_away
from tests.integration.worker_fixture import Bench, event_ids

pytestmark = pytest.mark.integration


def _documents(count: int) -> set[str]:
    return {f"doc-{number}" for number in range(count)}


def _all_there(bench: Bench, count: int):
    return lambda records: set(event_ids(records, bench.settings.entities_topic)) >= _documents(count)


async def test_worker_commit_never_overtakes_a_document_in_flight(bench: Bench, tmp_path: Path):
    """With the first document hanging nothing is committed; after kill -9 it comes back."""
    flag = tmp_path / "go"
    worker = bench.start_worker()
    await worker.is_ready()
    await bench.produce(f"First WAIT-FOR {flag}", *(f"Ada{n}" for n in range(1, 31)), partition=0)
    await bench.outcomes(lambda records: len(records) >= 30)
    await asyncio.sleep(3)  # several commit intervals
    assert await bench.committed() == {}
    worker.kill()
    flag.touch()
    bench.start_worker()
    records = await bench.outcomes(_all_there(bench, 31))
    ids = event_ids(records, bench.settings.entities_topic)
    assert all(len(one) == 1 for one in ids.values())
    await bench.until_committed({0: 31})


async def test_worker_kill_in_mid_flight_loses_nothing(bench: Bench):
    """Killed with -9 in mid-flight and started again, every document has its event, under one id."""
    worker = bench.start_worker(max_in_flight=16)
    await worker.is_ready()
    await bench.produce(*(f"Ada{n} SLEEP 0.05" for n in range(300)))
    await bench.outcomes(lambda records: len(records) >= 60)
    worker.kill()
    bench.start_worker(max_in_flight=16)
    records = await bench.outcomes(_all_there(bench, 300))
    ids = event_ids(records, bench.settings.entities_topic)
    assert set(ids) == _documents(300)
    assert all(len(one) == 1 for one in ids.values())
    await bench.until_committed({p: end for p, end in (await bench.ends()).items() if end})


async def test_worker_leaves_and_another_takes_over(bench: Bench):
    """Two workers of a group share the partitions; one leaves in the midst of work, nothing is lost."""
    first, second = bench.start_worker(max_in_flight=8), bench.start_worker(max_in_flight=8)
    await asyncio.gather(first.is_ready(), second.is_ready())
    await _until_shared(first, second)
    await bench.produce(*(f"Ada{n} SLEEP 0.1" for n in range(400)))
    await bench.outcomes(lambda records: len(records) >= 100)
    done = [await worker.metric('padellm_documents_total{outcome="event"}') for worker in (first, second)]
    assert all(done), "both worked"
    assert first.terminate() == 0
    records = await bench.outcomes(_all_there(bench, 400))
    ids = event_ids(records, bench.settings.entities_topic)
    assert set(ids) == _documents(400)
    assert all(len(one) == 1 for one in ids.values())
    await bench.until_committed({p: end for p, end in (await bench.ends()).items() if end})


async def test_worker_rebalance_is_bounded_by_the_drain_limit(bench: Bench, tmp_path: Path):
    """A document that hangs does not hold up a worker that joins, and is not lost by the rebalance."""
    flag = tmp_path / "go"
    await bench.produce(*(f"Ada{n} WAIT-FOR {flag}" for n in range(4)))
    first = bench.start_worker(drain_limit=2.0)
    await first.is_ready()
    second = bench.start_worker(drain_limit=2.0)
    began = time.monotonic()
    await second.is_ready()
    await _until_shared(first, second)
    assert time.monotonic() - began < 25
    flag.touch()
    records = await bench.outcomes(_all_there(bench, 4))
    assert set(event_ids(records, bench.settings.entities_topic)) == _documents(4)


async def test_worker_sigterm_ends_within_the_drain_limit(bench: Bench, tmp_path: Path):
    """SIGTERM: what ends within the limit is committed, what hangs is left for the next worker."""
    worker = bench.start_worker(drain_limit=4.0)
    await worker.is_ready()
    hanging = f"Hangs WAIT-FOR {tmp_path / 'never'}"
    await bench.produce("Quick", "Slow SLEEP 1.0", hanging, "After", partition=0)
    await bench.outcomes(lambda records: len(records) >= 2)
    began = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - began < 12
    records = await bench.outcomes(lambda records: len(records) >= 3)
    assert set(event_ids(records, bench.settings.entities_topic)) == {"doc-0", "doc-1", "doc-3"}
    assert await bench.committed() == {0: 2}


async def test_worker_commits_over_offsets_without_documents(bench: Bench):
    """Aborted transactions upstream leave offsets without a document: they hold nothing up."""
    worker = bench.start_worker()
    await worker.is_ready()
    topic = bench.settings.documents_topic
    async with bench.producer(transactional_id=topic) as producer:
        for number in range(20):
            for aborted in (False, True):
                await producer.begin_transaction()
                value = json.dumps(
                    {"id": f"doc-{number}" if not aborted else "aborted", "text": "Ada"}
                ).encode()
                last = await producer.send_and_wait(topic, value, partition=0)
                if aborted:
                    await producer.abort_transaction()
                else:
                    await producer.commit_transaction()
                    kept = last
    records = await bench.outcomes(_all_there(bench, 20))
    assert set(event_ids(records, bench.settings.entities_topic)) == _documents(20)
    await bench.until_committed({0: kept.offset + 1})
    assert last.offset > kept.offset > 20
    assert (await worker.page("/livez"))[0] == 200


@pytest.mark.parametrize("delivery", Delivery)
async def test_worker_sits_out_a_broker_that_is_away(
    private_bench: Bench, private_kafka: Any, delivery: Delivery
):
    """The broker dies and is away for 10 seconds: the same worker goes on soon, nothing is lost or stuck.

    The promise is 5 seconds on a machine with room; a busy one has twice that.
    """
    figures = await broker_away(private_bench, private_kafka, delivery, 10, how="kill")
    assert (figures.ready, figures.alive) == (503, 200)
    assert figures.stuck == 0
    assert figures.first < 10
    assert figures.repeats == 0 or delivery is Delivery.AT_LEAST_ONCE
    (worker,) = private_bench.workers
    await worker.is_ready()
    assert {"broker unavailable", "broker recovered"} <= {line["event"] for line in worker.lines()}


async def test_worker_sits_out_a_model_that_is_away(bench: Bench, tmp_path: Path):
    """While the model is away intake stops, visibly; then every document has its event."""
    flag = tmp_path / "away"
    flag.touch()
    worker = bench.start_worker(max_in_flight=8, document_deadline=1.0)
    await worker.is_ready()
    await bench.produce(*(f"Ada{n} AWAY-WHILE {flag}" for n in range(60)))
    await asyncio.sleep(5)
    assert await worker.metric("padellm_in_flight") == 8
    assert await worker.metric('padellm_retries_total{of="model"}') > 8
    assert await bench.committed() == {}
    flag.unlink()
    records = await bench.outcomes(_all_there(bench, 60))
    assert {record.topic for record in records} == {bench.settings.entities_topic}
    assert "model unavailable" in {line["event"] for line in worker.lines()}


async def test_worker_whose_model_is_gone_for_good_ends(bench: Bench, tmp_path: Path):
    """A worker whose engine broke down ends with an error, so that it is restarted; nothing is lost."""
    flag = tmp_path / "broken"
    flag.touch()
    worker = bench.start_worker()
    await worker.is_ready()
    await bench.produce("Ada", f"Eva DIE-WHILE {flag}", "Bob", partition=0)
    status = await asyncio.to_thread(worker.process.wait, 30)
    assert status not in {0, -signal.SIGKILL}
    assert "the scripted model is gone for good" in worker.log.read_text()
    flag.unlink()
    bench.start_worker()
    records = await bench.outcomes(_all_there(bench, 3))
    assert {record.topic for record in records} == {bench.settings.entities_topic}


async def test_worker_frozen_while_another_came_and_left_repeats_little(bench: Bench):
    """A worker that wakes up in a group that others have left puts no committed offset back."""
    frozen = bench.start_worker(max_in_flight=8)
    await frozen.is_ready()
    await bench.produce(*(f"Ada{n} SLEEP 0.1" for n in range(300)))
    await bench.outcomes(lambda records: len(records) >= 50)
    frozen.process.send_signal(signal.SIGSTOP)
    other = bench.start_worker(max_in_flight=64)
    await bench.outcomes(_all_there(bench, 300))
    ends = {p: end for p, end in (await bench.ends()).items() if end}
    await bench.until_committed(ends)
    assert other.terminate() == 0
    frozen.process.send_signal(signal.SIGCONT)
    for _ in range(50):
        assert await bench.committed() == ends
        await asyncio.sleep(0.1)
    await frozen.is_ready()
    assert await bench.committed() == ends


async def test_worker_frozen_beyond_its_session_overwrites_nothing(bench: Bench):
    """A worker frozen until the group gave its partitions away wakes up, commits nothing old, works on."""
    frozen = bench.start_worker(max_in_flight=8)
    await frozen.is_ready()
    await bench.produce(*(f"Ada{n} SLEEP 0.1" for n in range(300)))
    await bench.outcomes(lambda records: len(records) >= 50)
    frozen.process.send_signal(signal.SIGSTOP)
    other = bench.start_worker(max_in_flight=8)
    records = await bench.outcomes(_all_there(bench, 300))
    ends = {p: end for p, end in (await bench.ends()).items() if end}
    await bench.until_committed(ends)
    frozen.process.send_signal(signal.SIGCONT)
    await _until_shared(frozen, other)
    assert await bench.committed() == ends
    ids = event_ids(records, bench.settings.entities_topic)
    assert set(ids) == _documents(300)
    assert all(len(one) == 1 for one in ids.values())
    assert frozen.process.poll() is None


async def _until_shared(*workers: Any) -> None:
    """Wait until each worker was given two of the four partitions."""
    for _ in range(300):
        shares = [
            [line["partitions"] for line in worker.lines() if line["event"] == "partitions assigned"][-1:]
            for worker in workers
        ]
        if all(share and len(share[0]) == 2 for share in shares):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"partitions are not shared: {shares}")
