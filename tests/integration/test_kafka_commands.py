"""`padellm produce`, `consume` and `doctor` against a real Kafka."""

import asyncio
import json
import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from stream.cli import main
from stream.contract.messages import Coverage, Entity, EntityEvent, ModelInfo, Source
from stream.kafka.topics import ensure_topics
from stream.settings import Settings
from tests.tiny_model import write_tiny_checkpoint

pytestmark = pytest.mark.integration

Padellm = Callable[..., Result]


@pytest.fixture
def settings(kafka, monkeypatch, tmp_path) -> Settings:
    """Topics of this test's own, named by the environment as a person would."""
    name = uuid4().hex
    monkeypatch.setenv("PADELLM_BROKER", kafka.bootstrap)
    monkeypatch.setenv("PADELLM_DOCUMENTS_TOPIC", f"{name}.documents")
    monkeypatch.setenv("PADELLM_ENTITIES_TOPIC", f"{name}.entities")
    monkeypatch.setenv("PADELLM_DEAD_LETTERS_TOPIC", f"{name}.dead")
    monkeypatch.setenv("PADELLM_INFERENCE", "in-process")
    monkeypatch.setenv("PADELLM_MODEL", str(write_tiny_checkpoint(tmp_path / "model")))
    return Settings()


@pytest.fixture
def topics(settings) -> Settings:
    """The same, with the topics made."""
    asyncio.run(ensure_topics(settings, partitions=1))
    return settings


@pytest.fixture
def padellm() -> Padellm:
    """Runs a command in this process."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=stdin, terminal_width=1000)

    return run


def _put(settings: Settings, topic: str, value: bytes, headers: list[tuple[str, bytes]] = []) -> None:  # noqa: B006
    async def put() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
            await producer.send_and_wait(topic, value, headers=headers)

    asyncio.run(put())


def _event(topic: str, offset: int, text: str = "Ann") -> EntityEvent:
    return EntityEvent(
        event_id="e",
        document_id="doc-7",
        source=Source(topic=topic, partition=0, offset=offset),
        model=ModelInfo(name="m", version="1", template_hash="0" * 16),
        labels=["person"],
        entities=[Entity(text=text, label="person", start=0, end=len(text), score=0.9, count_score=1.0)],
        removed=[],
        coverage=Coverage(windows=1, characters=10),
        timings={},
    )


def test_produce_delivers_every_document(topics, padellm, tmp_path):
    """All documents of a file are in the topic, keyed by id, when the command ends."""
    path = tmp_path / "documents.jsonl"
    path.write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n')
    result = padellm("produce", str(path), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["documents"] == 2
    read = padellm("consume", "--json")  # no event came of it, since there is no worker
    assert (read.exit_code, read.stdout) == (0, "")


def test_produce_sends_nothing_of_a_file_with_a_bad_line(topics, padellm, tmp_path, monkeypatch):
    """A file with a line that is no document is refused by its number, and none of it is sent."""
    path = tmp_path / "documents.jsonl"
    path.write_text('{"text": "one"}\nnot json\n')
    result = padellm("produce", str(path))
    assert result.exit_code == 1
    assert "documents.jsonl, line 2, is not a document" in result.stderr
    monkeypatch.setenv("PADELLM_ENTITIES_TOPIC", topics.documents_topic)
    assert padellm("consume", "--json").stdout == ""


def test_produce_sends_raw_lines_as_they_are(topics, padellm, monkeypatch):
    """With --raw whatever a line holds is sent."""
    assert padellm("produce", "-", "--raw", stdin="not json\n{\n").exit_code == 0
    monkeypatch.setenv("PADELLM_ENTITIES_TOPIC", topics.documents_topic)
    assert padellm("consume", "--json").stdout == "not json\n{\n"


def test_consume_shows_entities_in_their_text(topics, padellm):
    """An event is shown with the text of the document it is about, its entities labelled in place."""
    assert padellm("produce", "-", stdin="Ann met Bob.\n").exit_code == 0
    _put(topics, topics.entities_topic, _event(topics.documents_topic, 0).model_dump_json().encode())
    result = padellm("consume")
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"doc-7  Ann \W?person\W? met Bob\.\n", result.stdout)


def test_consume_lists_entities_whose_text_is_gone(topics, padellm):
    """Where the document cannot be had, or is another, the entities are listed."""
    assert padellm("produce", "-", stdin="Bob met Ann.\n").exit_code == 0
    for offset in (0, 99):
        _put(topics, topics.entities_topic, _event(topics.documents_topic, offset).model_dump_json().encode())
    assert padellm("consume").stdout == "doc-7  Ann person 0-3\n" * 2


def test_consume_ends_after_the_limit(topics, padellm):
    """--limit N shows N and ends."""
    for offset in range(3):
        _put(topics, topics.entities_topic, _event(topics.documents_topic, offset).model_dump_json().encode())
    lines = padellm("consume", "--limit", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["source"]["offset"] for line in lines] == [0, 1]


def test_consume_shows_dead_letters_with_their_reason(topics, padellm):
    """A dead letter is shown with where it came from, its stage, its reason and its value."""
    position = {
        "topic": b"documents",
        "partition": b"2",
        "offset": b"5",
        "group": b"g",
        "message": b"no JSON",
    }
    headers = [(f"__dlq.errors.{name}", value) for name, value in position.items()]
    headers += [("padellm.stage", b"decode"), ("padellm.reason", b"not_json")]
    _put(topics, topics.dead_letters_topic, b"\xff{", headers)
    line = padellm("consume", "--dead-letters").stdout
    assert line.startswith("documents/2/5  decode, not_json: no JSON")
    letter = json.loads(padellm("consume", "--dead-letters", "--json").stdout)
    assert (letter["reason"], letter["offset"], letter["value"]) == ("not_json", "5", {"base64": "/3s="})


def test_consume_names_a_missing_topic_and_does_not_make_it(settings, padellm):
    """A topic that is not there is named; asking for it again finds it still missing."""
    for _ in range(2):
        result = padellm("consume")
        assert result.exit_code == 1
        assert f"no topic {settings.documents_topic}" in result.stderr


def test_doctor_fails_on_missing_topics_and_says_how_to_mend(settings, padellm):
    """Missing topics are failures, each with a way to mend it, and the exit status is 1."""
    result = padellm("doctor", "--json")
    assert result.exit_code == 1
    findings = {each["subject"]: each for each in json.loads(result.stdout)["findings"]}
    missing = findings[f"topic {settings.entities_topic}"]
    assert (missing["grade"], findings["broker"]["grade"]) == ("fail", "ok")
    assert "padellm up" in missing["mend"]


def test_doctor_passes_a_healthy_stack(topics, padellm):
    """With broker, topics and model in order nothing fails, and the exit status is 0."""
    result = padellm("doctor", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"]) == (0, True), report
    found = {each["subject"]: each["found"] for each in report["findings"]}
    assert found[f"topic {topics.documents_topic}"] == "1 partitions, messages up to 67,108,864 bytes"
