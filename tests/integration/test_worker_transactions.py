"""Exactly once on a real broker: every outcome once for a reader of committed transactions."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaError, RequestTimedOutError

from stream.contract.record import Record
from stream.settings import Delivery
from stream.worker.publisher import Outgoing
from stream.worker.transaction_requests import EndTxn, TxnOffsetCommit
from stream.worker.transactional_producer import Membership, MembershipEnded, TransactionalProducer
from tests.integration.kafka_fixture import OldTransactionsKafka, serve
from tests.integration.worker_fixture import Bench, WorkerProcess, bench_at

pytestmark = pytest.mark.integration
_FENCED = {47, 90}  # invalid producer epoch, producer fenced


def _start(bench: Bench, **options: Any) -> WorkerProcess:
    return bench.start_worker(delivery=Delivery.EXACTLY_ONCE, **options)


async def _outcomes(bench: Bench, until: Callable[[list[Any]], bool]) -> list[Any]:
    return await bench.outcomes(until, isolation_level="read_committed")


def _documents(records: list[Any]) -> Counter[str]:
    return Counter(record.key.decode() for record in records)


async def _each_once(bench: Bench, count: int) -> None:
    """Wait until all offsets are committed, and compare what a read_committed reader sees."""
    await bench.until_committed({p: end for p, end in (await bench.ends()).items() if end})
    records = await _outcomes(bench, lambda records: len(records) >= count)
    assert _documents(records) == {f"doc-{number}": 1 for number in range(count)}
    everything = await _outcomes(bench, _at_rest())
    assert len(everything) == count


def _at_rest(polls: int = 10) -> Callable[[list[Any]], bool]:
    """A condition that holds after so many polls: by then a late repeat would have come."""
    left = iter(range(polls))
    return lambda _records: next(left, None) is None


async def _killed_twice(bench: Bench) -> None:
    await bench.produce(*(f"Ada{n} SLEEP 0.05" for n in range(500)))
    for seen in (100, 250):
        worker = _start(bench, max_in_flight=32)
        await _outcomes(bench, lambda records, seen=seen: len(records) >= seen)
        worker.kill()
    _start(bench, max_in_flight=32)
    await _each_once(bench, 500)


async def test_transactions_survive_kill(bench: Bench):
    """Killed with -9 twice over four partitions, each of 500 documents has one committed outcome."""
    await _killed_twice(bench)


async def test_transactions_survive_kill_at_an_old_broker(tmp_path: Path, tiny_model: Path):
    """With transaction.version=0 as well, and the log says once that it is so."""
    for broker in serve(tmp_path / "kafka", OldTransactionsKafka):
        async for bench in bench_at(broker.bootstrap, tiny_model, tmp_path):
            await _killed_twice(bench)
            for worker in bench.workers:
                warnings = [line for line in worker.lines() if line["event"].startswith("broker without an")]
                assert len(warnings) == 1


async def test_transactions_hold_dead_letters_too(bench: Bench):
    """Events and dead letters of one partition are committed in order, with one offset."""
    _start(bench)
    await bench.produce("Ada", "Bad REJECT", "Eva", partition=0)
    records = await _outcomes(bench, lambda records: len(records) >= 3)
    topics = {record.key.decode(): record.topic for record in records}
    assert topics["doc-1"] == bench.settings.dead_letters_topic
    await bench.until_committed({0: 3})


async def test_transactions_wait_for_a_document_in_flight(bench: Bench, tmp_path: Path):
    """Outcomes behind a document that hangs become visible with it, and SIGTERM leaves them for the next."""
    flag = tmp_path / "go"
    worker = _start(bench, drain_limit=2.0)
    await worker.is_ready()
    await bench.produce("First", f"Hangs WAIT-FOR {flag}", "After", partition=0)
    await _outcomes(bench, lambda records: len(records) >= 1)
    await asyncio.sleep(1)
    assert await bench.committed() == {0: 1}
    assert worker.terminate() == 0
    flag.touch()
    _start(bench)
    await _each_once(bench, 3)


async def test_transactions_of_a_frozen_worker_are_refused(bench: Bench):
    """A worker frozen until others own its partitions repeats and puts back nothing when it wakes up."""
    frozen = _start(bench, max_in_flight=8)
    await frozen.is_ready()
    await bench.produce(*(f"Ada{n} SLEEP 0.05" for n in range(300)))
    await _outcomes(bench, lambda records: len(records) >= 50)
    frozen.process.send_signal(signal.SIGSTOP)
    _start(bench, max_in_flight=8)
    await _outcomes(bench, lambda records: len(records) >= 250)
    frozen.process.send_signal(signal.SIGCONT)
    await _each_once(bench, 300)
    assert all(worker.process.poll() is None for worker in bench.workers)


async def test_transactions_survive_a_rebalance(bench: Bench):
    """Workers that come and go in the midst of work repeat nothing."""
    first = _start(bench, max_in_flight=8)
    await bench.produce(*(f"Ada{n} SLEEP 0.1" for n in range(300)))
    await _outcomes(bench, lambda records: len(records) >= 30)
    second = _start(bench, max_in_flight=8)
    await second.is_ready()
    await _outcomes(bench, lambda records: len(records) >= 150)
    assert first.terminate() == 0
    await _each_once(bench, 300)


async def _initialised(bench: Bench) -> None:
    async with bench.producer(transactional_id="first"):
        pass


async def _until_served(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask a broker that has just started until it answers."""
    for _ in range(100):
        with suppress(KafkaError):
            await ask()
            return
        await asyncio.sleep(0.2)
    raise AssertionError("the broker has no coordinators")


@asynccontextmanager
async def _membership(bench: Bench) -> AsyncIterator[Membership]:
    """Membership of a consumer in the worker's group, once the broker has group and transactions."""
    for coordinates in (bench.committed, lambda: _initialised(bench)):
        await _until_served(coordinates)
    async with AIOKafkaConsumer(
        bench.settings.documents_topic,
        bootstrap_servers=bench.settings.broker,
        group_id=bench.settings.group,
        enable_auto_commit=False,
    ) as consumer:
        while not consumer.assignment():  # noqa: ASYNC110 - the consumer has no event
            await asyncio.sleep(0.05)
        coordinator = consumer._coordinator
        yield Membership(coordinator.generation, coordinator.member_id, None)


def _messages(bench: Bench, *texts: str) -> list[Outgoing]:
    topic = bench.settings.documents_topic
    return [
        Outgoing(bench.settings.entities_topic, text.encode(), b"{}", (), Record(topic, 0, number))
        for number, text in enumerate(texts)
    ]


@asynccontextmanager
async def _producer(bench: Bench, membership: Membership) -> AsyncIterator[TransactionalProducer]:
    """A producer of partition 0 that is closed at the end."""
    partition = TopicPartition(bench.settings.documents_topic, 0)
    producer = TransactionalProducer(bench.settings, partition, membership)
    try:
        yield producer
    finally:
        await producer.close()


async def test_transactions_zombie_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """An old generation commits nothing and fences nobody; and if it fenced, its offset would be refused."""
    async with (
        _membership(bench) as present,
        _producer(bench, present) as owner,
        _producer(bench, replace(present, generation=present.generation - 1)) as zombie,
    ):
        await owner.begin()
        with pytest.raises(MembershipEnded):
            await zombie.begin()
        await owner.commit(_messages(bench, "owner"), 1)
        monkeypatch.setattr(zombie, "_assert_member", lambda: asyncio.sleep(0))
        assert await zombie.begin() == 1
        with pytest.raises(MembershipEnded):
            await zombie.commit(_messages(bench, "zombie"), 7)
        assert await owner.begin() == 1
        await owner.commit(_messages(bench, "again"), 2)
    records = await _outcomes(bench, _at_rest())
    assert _documents(records) == {"owner": 1, "again": 1}


@pytest.mark.parametrize("arrived", [False, True])
@pytest.mark.parametrize("late", [EndTxn, TxnOffsetCommit])
async def test_transactions_late_request_reaches_no_later_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, late: type, arrived: bool
):
    """A request that the network held, or doubled, arrives in the midst of the next transaction: refused."""
    held: list[Any] = []
    codes: list[int] = []
    async with _membership(bench) as membership, _producer(bench, membership) as producer:
        await producer.begin()
        send, end = producer._send, producer._end

        async def holding(node: int, request: Any, **options: Any) -> Any:
            if isinstance(request, late) and not held:
                held.append((node, request))
                if not arrived:
                    raise RequestTimedOutError
            return await send(node, request, **options)

        async def ending() -> None:
            """Let the held request arrive after all others of the transaction."""
            if held:
                answer = await _delivered(bench, *held[0])
                codes.append(answer.error_code if late is EndTxn else answer.topics[0][1][0][1])
                assert "second" not in _documents(await _outcomes(bench, _at_rest(3)))
            await end()

        monkeypatch.setattr(producer, "_send", holding)
        if arrived:
            await producer.commit(_messages(bench, "first"), 5)
        else:
            with pytest.raises(RequestTimedOutError):
                await producer.commit(_messages(bench, "first"), 5)
            assert await producer.begin() == -1
        monkeypatch.setattr(producer, "_end", ending)
        await producer.commit(_messages(bench, "second"), 9)
        assert set(codes) <= _FENCED
        assert len(codes) == 1
        assert await producer.begin() == 9
    records = await _outcomes(bench, _at_rest())
    assert _documents(records) == ({"first": 1, "second": 1} if arrived else {"second": 1})


async def _delivered(bench: Bench, node: int, request: Any) -> Any:
    """Answer to a request that arrives over another connection, as it was made."""
    client = AIOKafkaClient(bootstrap_servers=bench.settings.broker)
    await client.bootstrap()
    try:
        return await client.send(node, request, group=ConnectionGroup.COORDINATION)
    finally:
        await client.close()


async def test_transactions_stranger_with_the_same_id_forks_nothing(bench: Bench):
    """A program that takes the worker's transactional ids in mid-work is fenced in turn."""
    worker = _start(bench, max_in_flight=8)
    await worker.is_ready()
    await bench.produce(*(f"Ada{n} SLEEP 0.05" for n in range(200)))
    await _outcomes(bench, lambda records: len(records) >= 50)
    for number in range(4):
        name = f"{bench.settings.group}/{bench.settings.documents_topic}/{number}"
        async with bench.producer(transactional_id=name):
            pass
    await _each_once(bench, 200)
    assert worker.process.poll() is None


async def test_transactions_too_large_event_is_a_dead_letter(bench: Bench):
    """An event that its topic refuses is a dead letter of the same transaction order, and once."""
    value = json.dumps({"id": "doc-1", "text": "Ada", "metadata": {"padding": "x" * 5000}}).encode()
    async with bench.producer() as producer:
        for number, each in enumerate(
            (b'{"id": "doc-0", "text": "Eva"}', value, b'{"id": "doc-2", "text": "Bob"}')
        ):
            await producer.send(
                bench.settings.documents_topic, each, key=f"doc-{number}".encode(), partition=0
            )
    _start(bench, max_message_bytes=4000)
    await _each_once(bench, 3)
    records = await _outcomes(bench, _at_rest())
    topics = {record.key.decode(): record.topic for record in records}
    assert topics["doc-1"] == bench.settings.dead_letters_topic
