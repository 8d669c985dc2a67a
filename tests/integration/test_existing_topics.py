"""Topics of other programs, on a real broker."""

import asyncio
import json
import uuid

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from typer.testing import CliRunner

from stream.cli import main
from stream.kafka.topics import ensure_topics
from stream.settings import Delivery, Settings
from tests.integration.record_shapes import SHAPES, run
from tests.integration.worker_fixture import Bench
from tests.tiny_model import write_tiny_checkpoint

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("shape", SHAPES)
async def test_existing_topics_become_events_with_settings_alone(bench: Bench, shape: str):
    """Records of every shape become events with offsets in the right field, and none is lost."""
    assert await run(bench, SHAPES[shape], 60) == (36 if shape == "row" else 60)


async def test_existing_topics_deletions_are_committed_exactly_once(bench: Bench):
    """With transactions, records without a document are committed too, the last of a partition among them."""
    assert await run(bench, SHAPES["row"], 40, delivery=Delivery.EXACTLY_ONCE) == 24


async def _groups_and_topics(bootstrap: str) -> tuple[set[str], set[str]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return {name for name, *_ in await admin.list_consumer_groups()}, set(await admin.list_topics())
    finally:
        await admin.close()


async def _fill(settings: Settings, shape: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
        for number in range(20):
            made = SHAPES[shape].make(number)
            await producer.send(
                settings.documents_topic, made.value, key=made.key or b"k", headers=list(made.headers)
            )
        await producer.flush()


def test_existing_topics_are_looked_at_without_a_trace(kafka, monkeypatch, tmp_path):
    """Doctor proposes settings, and try shows what they find; neither writes, nor joins a group."""
    name = uuid.uuid4().hex
    settings = Settings(broker=kafka.bootstrap, documents_topic=name, dead_letters_topic=f"{name}-dead")
    asyncio.run(ensure_topics(settings, partitions=2))
    asyncio.run(_fill(settings, "row"))
    monkeypatch.setenv("PADELLM_BROKER", kafka.bootstrap)
    before = asyncio.run(_groups_and_topics(kafka.bootstrap))

    looked = CliRunner().invoke(main, ["doctor", "--topic", name, "--json"])
    answer = json.loads(looked.stdout)
    assert (looked.exit_code, answer["ok"]) == (0, True)
    assert answer["settings"] == {
        "PADELLM_DOCUMENTS_TOPIC": name,
        "PADELLM_RECORD_FORMAT": "debezium",
        "PADELLM_TEXT_POINTERS": "/after/title,/after/body",
        "PADELLM_ID_POINTER": "/after/id",
    }

    for variable, value in answer["settings"].items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("PADELLM_INFERENCE", "in-process")
    monkeypatch.setenv("PADELLM_MODEL", str(write_tiny_checkpoint(tmp_path / "model")))
    tried = CliRunner().invoke(main, ["try", "--limit", "20", "--json"])
    assert tried.exit_code == 0, tried.output
    outcomes = [json.loads(line) for line in tried.stdout.splitlines()]
    assert sum("event" in each for each in outcomes) == 12
    assert sum("no_document" in each for each in outcomes) == 8
    shown = CliRunner().invoke(main, ["try", "--limit", "5"], terminal_width=400)
    assert "no document" in shown.stdout
    assert "/after/title" in shown.stdout
    assert asyncio.run(_groups_and_topics(kafka.bootstrap)) == before
