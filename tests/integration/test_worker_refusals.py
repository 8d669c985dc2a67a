"""Topics that are forbidden or missing are named, and cost no document. On a real broker."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from stream.settings import Delivery
from tests.integration.kafka_fixture import RunningKafka, serve
from tests.integration.proxied_kafka import ProxiedKafka
from tests.integration.worker_fixture import Bench, WorkerProcess, bench_at, event_ids

pytestmark = pytest.mark.integration
_TOPIC, _LITERAL = 2, 3
_ALL, _WRITE = 2, 4
_DENY, _ALLOW = 2, 3
_PATIENCE = 120.0
_SOON = 40.0  # 30 s for the metadata, and the rebalance


class GuardedKafka(ProxiedKafka):
    """A broker that asks access control lists, and makes no topic that it is not told to make."""

    def _settings(self) -> dict[str, object]:
        return {
            **super()._settings(),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
            "auto.create.topics.enable": "false",
        }


@pytest.fixture(scope="module")
def guarded_kafka(tmp_path_factory: pytest.TempPathFactory):
    """A guarded broker for the tests of this file."""
    yield from serve(tmp_path_factory.mktemp("guarded"), GuardedKafka)


@pytest.fixture
async def guarded_bench(
    guarded_kafka: RunningKafka, tiny_model: Path, tmp_path: Path
) -> AsyncIterator[Bench]:
    """Topics and workers at the guarded broker."""
    async for bench in bench_at(guarded_kafka.bootstrap, tiny_model, tmp_path):
        yield bench


@pytest.mark.parametrize("delivery", Delivery)
async def test_worker_refused_dead_letters_wait(guarded_bench: Bench, delivery: Delivery):
    """While the topic is forbidden, then while it is missing, /readyz says so and nothing is dropped."""
    bench = guarded_bench
    topic = bench.settings.dead_letters_topic
    worker = bench.start_worker(delivery=delivery, max_in_flight=2)
    await worker.is_ready()
    for number, trouble in enumerate((_forbidden, _missing)):
        async with trouble(bench, topic) as cause:
            await _send(bench, b"not json", b'{"text": "Ada"}', b"nor this", b'{"text": "Eva"}')
            page = await _until_not_ready(worker, cause)
            assert topic in page
            assert (await worker.page("/livez"))[0] == 200
            await _until_full(worker, 2)
            assert (await bench.committed()).get(0, 0) == 4 * number
        await bench.until_committed({0: 4 * (number + 1)})
        await worker.is_ready()
    records = await bench.outcomes(lambda records: len(records) >= 6, isolation_level="read_committed")
    assert len(records) == 6  # the topic was made anew, without the first two dead letters
    assert worker.process.poll() is None


async def test_worker_refused_topic_made_anew_is_read(guarded_bench: Bench):
    """A topic that is deleted is named; made again it is read soon, its documents with ids of their own."""
    bench = guarded_bench
    worker = bench.start_worker()
    await worker.is_ready()
    await bench.produce(*(f"Ada{n}" for n in range(4)), partition=0)
    await bench.outcomes(lambda records: len(records) >= 4)
    await bench.until_committed({0: 4})
    async with _missing(bench, bench.settings.documents_topic) as cause:
        assert bench.settings.documents_topic in await _until_not_ready(worker, cause)
    await bench.produce(*(f"Eva{n}" for n in range(4)), partition=0)
    began = time.monotonic()
    records = await bench.outcomes(lambda records: len(records) >= 8)
    assert time.monotonic() - began < _SOON
    ids = event_ids(records, bench.settings.entities_topic)
    assert {document: len(found) for document, found in ids.items()} == {f"doc-{n}": 2 for n in range(4)}
    events = [json.loads(record.value) for record in records]
    texts = {event["entities"][0]["text"] for event in events}
    assert texts == {*(f"Ada{n}" for n in range(4)), *(f"Eva{n}" for n in range(4))}
    await worker.is_ready()


async def _send(bench: Bench, *values: bytes) -> None:
    async with bench.producer() as producer:
        for value in values:
            await producer.send_and_wait(bench.settings.documents_topic, value, key=b"k", partition=0)


async def _until_not_ready(worker: WorkerProcess, cause: str) -> str:
    """Wait until /readyz fails with this cause."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        status, page = await worker.page("/readyz")
        if status == 503 and cause in page:
            return page
        assert time.monotonic() < deadline, page
        await asyncio.sleep(0.1)


async def _until_full(worker: WorkerProcess, documents: int) -> None:
    """Wait until so many documents are in flight."""
    async with asyncio.timeout(_PATIENCE):
        while await worker.metric("padellm_in_flight") != documents:  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _forbidden(bench: Bench, topic: str) -> AsyncIterator[str]:
    """Nobody may write to the topic."""
    everybody = (_TOPIC, topic, _LITERAL, "User:*", "*")
    async with _admin(bench) as admin:
        for rule in ((_ALL, _ALLOW), (_WRITE, _DENY)):
            made = await admin._send_request(CreateAclsRequest(*everybody, *rule))
            assert made.creation_responses[0][0] == 0, made
        yield "TopicAuthorizationFailed"
        deleted = await admin._send_request(DeleteAclsRequest(*everybody, _WRITE, _DENY))
        assert deleted.filter_responses[0][0] == 0, deleted


@asynccontextmanager
async def _missing(bench: Bench, topic: str) -> AsyncIterator[str]:
    """The topic was deleted."""
    async with _admin(bench) as admin:
        await admin.delete_topics([topic])
        yield "does not exist"
        await admin.create_topics([NewTopic(topic, 1, 1)])


@asynccontextmanager
async def _admin(bench: Bench) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.broker)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
