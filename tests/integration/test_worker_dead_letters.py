"""Dead letters of a real worker: sent again, and held while their topic takes none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream.contract.reasons import Stage
from stream.kafka.letters import LetterSelection, StoredLetter, select_letters
from stream.kafka.replay import ReplayPlan, plan_replay, replayed_positions, send_again
from tests.integration.worker_fixture import Bench, event_ids

pytestmark = pytest.mark.integration


async def test_worker_dead_letters_replayed_become_events(bench: Bench):
    """Once the cause is mended a replay gives each document its event, under the id it had, and one alone."""
    topic = bench.settings.documents_topic
    worker = bench.start_worker(max_text_characters=8)
    await worker.is_ready()
    async with bench.producer() as producer:
        for value in (b'{"id": "own", "text": "Ada was here"}', b'{"text": "Bob was here"}', b"not json"):
            await producer.send_and_wait(topic, value, partition=0)
    await _letters(bench, 3)
    worker.terminate()
    await bench.start_worker().is_ready()
    for to_send in (2, 0):
        plan = await _plan(bench, reasons=frozenset({"text_too_long"}))
        assert (len(plan.send), len(plan.done), plan.refused) == (to_send, 2 - to_send, [])
        await send_again(bench.settings, plan.send, on_confirmed=lambda *_: None)
    records = await bench.outcomes(lambda records: len(records) >= 5)
    ids = event_ids(records, bench.settings.entities_topic)
    assert {document: len(events) for document, events in ids.items()} == {"own": 1, f"{topic}/0/1": 1}
    await bench.until_committed({0: 5})


async def test_worker_dead_letters_of_every_stage_keep_their_record(bench: Bench):
    """Each stage has its dead letter: reason, stage and tries in headers, the record's bytes as they came."""
    await _resized(bench, bench.settings.entities_topic, limit=3000)
    worker = bench.start_worker(max_text_characters=100)
    await worker.is_ready()
    padding = b'"metadata": {"padding": "%s"}' % (b"x" * 4000)
    expected = {
        b"not json": ("decode", "not_json", "1"),
        b'{"text": 7}': ("validate", "wrong_type", "1"),
        b'{"text": "%s"}' % (b"Ada " * 26): ("size", "text_too_long", "1"),
        b'{"text": "Ada REJECT"}': ("count", "inference_rejected", "2"),
        b'{"text": "Ada REJECT-MENTION"}': ("mention", "inference_rejected", "2"),
        b'{"text": "Ada TIMEOUT"}': ("deadline", "inference_timeout", "3"),
        b'{"text": "Ada FAULT"}': ("inference", "internal_error", "1"),
        b'{"text": "Ada", %s}' % padding: ("publish", "event_too_large", "1"),
    }
    headers = [("a", b"\xff\x00"), ("a", b"2"), ("none", None)]
    async with bench.producer() as producer:
        for value in expected:
            await producer.send_and_wait(
                bench.settings.documents_topic, value, key=b"\xffkey", headers=headers, partition=0
            )
    records = await bench.outcomes(lambda records: len(records) >= len(expected))
    names = ("padellm.stage", "padellm.reason", "__dlq.errors.delivery.count")
    found = {record.value: tuple(dict(record.headers)[name].decode() for name in names) for record in records}
    assert found == expected
    assert {stage for stage, _, _ in expected.values()} == set(Stage)
    for record in records:
        assert (record.key, list(record.headers[:3])) == (b"\xffkey", headers)
    await bench.until_committed({0: len(expected)})


async def test_worker_dead_letters_do_not_go_round_for_ever(bench: Bench):
    """A document that fails after each replay is refused in the end; its dead letters count the replays."""
    await bench.start_worker().is_ready()
    async with bench.producer() as producer:
        await producer.send_and_wait(bench.settings.documents_topic, b"not json", partition=0)
    for replays in range(3):
        letters = await _letters(bench, replays + 1)
        # A replayed record has a key, so its dead letter may be in another partition: no order is promised.
        assert sorted(each.failure.replays for each in letters) == list(range(replays + 1))
        plan = await _plan(bench)
        assert (len(plan.send), len(plan.done), plan.refused) == (1, replays, [])
        await send_again(bench.settings, plan.send, on_confirmed=lambda *_: None)
    await _letters(bench, 4)
    plan = await _plan(bench)
    assert (plan.send, len(plan.done)) == ([], 3)
    assert "sent again 3 times" in plan.refused[0][1]


async def test_worker_dead_letters_wait_for_a_topic_that_takes_them(bench: Bench):
    """Where the topic is too small for any /readyz names it and nothing is dropped; a larger one ends it."""
    topic = bench.settings.dead_letters_topic
    await _made_anew(bench, topic, limit=200)
    worker = bench.start_worker()
    await worker.is_ready()
    async with bench.producer() as producer:
        for value in (b"not json", b'{"id": "good", "text": "Ada"}'):
            await producer.send_and_wait(bench.settings.documents_topic, value, partition=0)
    async with asyncio.timeout(60):
        while "in no form" not in (await worker.page("/readyz"))[1]:  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.1)
    status, page = await worker.page("/readyz")
    assert (status, topic in page, "max.message.bytes" in page) == (503, True, True)
    assert (await worker.page("/livez"))[0] == 200
    assert await bench.committed() in ({}, {0: 0})
    await _resized(bench, topic, limit=1_000_000)
    await bench.until_committed({0: 2})
    assert [each.source for each in await _letters(bench, 1)] == [(0, 0)]
    await worker.is_ready()


async def _letters(bench: Bench, number: int) -> list[StoredLetter]:
    """All dead letters, once there are so many."""
    async with asyncio.timeout(60):
        while True:
            letters, _ = await select_letters(bench.settings, LetterSelection())
            if len(letters) >= number:
                return letters
            await asyncio.sleep(0.2)


async def _plan(bench: Bench, **conditions: frozenset[str]) -> ReplayPlan:
    letters, _ = await select_letters(bench.settings, LetterSelection(**conditions))
    replayed = await replayed_positions(bench.settings, letters)
    return plan_replay(letters, replayed, documents_topic=bench.settings.documents_topic, most_replays=3)


async def _made_anew(bench: Bench, topic: str, *, limit: int) -> None:
    async with _admin(bench) as admin:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # noqa: ASYNC110 - the broker's doing
            await asyncio.sleep(0.1)
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": str(limit)})])


async def _resized(bench: Bench, topic: str, *, limit: int) -> None:
    async with _admin(bench) as admin:
        configs = {"max.message.bytes": str(limit)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs)])


@asynccontextmanager
async def _admin(bench: Bench) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.broker)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
