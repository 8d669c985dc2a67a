"""Checks of a real broker and of a real Triton."""

import json
import shutil
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.doctor.broker import check_broker
from stream.doctor.triton import check_triton
from stream.settings import Settings

pytestmark = pytest.mark.integration


async def _create(bootstrap: str, *topics: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics(list(topics))
    finally:
        await admin.close()


async def test_doctor_warns_of_topics_that_lose_records(kafka: Any) -> None:
    """A compacted topic and one for small messages are warnings, each with the property to change."""
    name = f"doctor-{uuid.uuid4().hex[:8]}"
    settings = Settings(
        broker=kafka.bootstrap,
        documents_topic=name,
        entities_topic=f"{name}-entities",
        dead_letters_topic=f"{name}-dead",
    )
    large = {"max.message.bytes": str(settings.max_message_bytes)}
    await _create(
        kafka.bootstrap,
        NewTopic(settings.documents_topic, 2, 1, topic_configs=large),
        NewTopic(settings.entities_topic, 1, 1, topic_configs={"max.message.bytes": "1000000"}),
        NewTopic(settings.dead_letters_topic, 1, 1, topic_configs={**large, "cleanup.policy": "compact"}),
    )
    findings = {finding.subject: finding async for finding in check_broker(settings)}
    documents, entities, dead = (
        findings[f"topic {topic}"]
        for topic in (settings.documents_topic, settings.entities_topic, settings.dead_letters_topic)
    )
    assert (documents.grade, documents.fix) == ("ok", "")
    assert entities.grade == dead.grade == "warn"
    assert "max.message.bytes" in entities.fix
    assert "cleanup.policy" in dead.fix


async def test_doctor_knows_the_checkpoint_that_triton_serves(
    triton: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The worker's own model is the server's; a newer version of it in the worker is a failure."""
    newer = Path(shutil.copytree(tiny_checkpoint, tmp_path / "newer"))
    config = json.loads((newer / "ner_config.json").read_text(encoding="utf-8"))
    (newer / "ner_config.json").write_text(json.dumps(config | {"version": "newer"}), encoding="utf-8")
    found = {}
    for model in (tiny_checkpoint, newer):
        async with aclosing(check_triton(Settings(triton_url=triton.url, model=model))) as findings:
            found[model] = await anext(each async for each in findings if each.subject == "triton checkpoint")
    assert found[tiny_checkpoint].grade == "ok"
    assert found[newer].grade == "fail"
    assert "the server has another version" in found[newer].found
