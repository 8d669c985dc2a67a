"""`padellm produce`, `consume` and `doctor` against a real Kafka."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from typer.testing import CliRunner, Result

from stream.cli import main
from stream.contract.messages import Coverage, Entity, EntityEvent, ModelInfo, Source
from stream.kafka.reader import read_topic
from stream.kafka.topics import ensure_topics, topic_names
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


def _put(settings: Settings, topic: str, value: bytes | None, **options: object) -> None:
    async def put() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
            await producer.send_and_wait(topic, value, partition=0, **options)

    asyncio.run(put())


def _put_in_transaction(settings: Settings, topic: str, value: bytes, *, commit: bool) -> None:
    async def put() -> None:
        name = uuid4().hex
        async with AIOKafkaProducer(bootstrap_servers=settings.broker, transactional_id=name) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value)
            await (producer.commit_transaction() if commit else producer.abort_transaction())

    asyncio.run(put())


def _documents(settings: Settings) -> list[bytes | None]:
    """Values of the documents topic."""

    async def read() -> list[bytes | None]:
        topic = settings.documents_topic
        records = read_topic(topic, settings=settings, from_beginning=True, follow=False)
        async with aclosing(records):
            return [record.value async for record in records]

    return asyncio.run(read())


def _topics(settings: Settings) -> set[str]:
    async def listed() -> set[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.broker)
        await admin.start()
        try:
            return set(await admin.list_topics())
        finally:
            await admin.close()

    return asyncio.run(listed())


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
    assert [json.loads(value)["id"] for value in _documents(topics)] == ["a", "b"]
    read = padellm("consume", "--json")  # no event came of it, since there is no worker
    assert (read.exit_code, read.stdout) == (0, "")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal: a person's, a program's."""
    ends = pty.openpty()
    yield ends
    os.close(ends[0])


def test_produce_at_a_terminal_sends_each_line_and_ends_on_ctrl_c(topics, terminal):
    """A typed line is delivered while the command waits for the next; Ctrl-C ends it with status 130."""
    person, program = terminal
    command = [sys.executable, "-m", "stream.cli", "produce", "-"]
    process = subprocess.Popen(
        command,
        stdin=program,
        stdout=subprocess.PIPE,
        text=True,
        # Where the tests run in the background SIGINT is ignored, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    os.close(program)
    os.write(person, b"Ann met Bob.\n")
    deadline = time.monotonic() + 60
    while not (sent := _documents(topics)):
        assert time.monotonic() < deadline
    assert [json.loads(value)["text"] for value in sent] == ["Ann met Bob."]
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output.startswith("1 documents delivered to ")) == (130, True), output


def test_produce_names_a_missing_topic_and_does_not_create_it(settings, padellm):
    """A misspelt topic is an error that names the command for making one; nothing creates it by accident."""
    for _ in range(2):
        result = padellm("produce", "-", stdin="Ann met Bob.\n")
        assert result.exit_code == 1
        assert f"no topic {settings.documents_topic}: create it with `padellm topics`" in result.stderr
    assert settings.documents_topic not in _topics(settings)


def test_produce_sends_nothing_of_a_file_with_a_bad_line(topics, padellm, tmp_path):
    """A file with a line that is no document is refused by its number, and none of it is sent."""
    path = tmp_path / "documents.jsonl"
    path.write_text('{"text": "one"}\nnot json\n')
    result = padellm("produce", str(path))
    assert result.exit_code == 1
    assert "documents.jsonl, line 2, is not a document" in result.stderr
    assert _documents(topics) == []


def test_produce_sends_raw_lines_as_they_are(topics, padellm):
    """With --raw whatever a line holds is sent."""
    assert padellm("produce", "-", "--raw", stdin="not json\n{\n").exit_code == 0
    assert _documents(topics) == [b"not json", b"{"]


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
    for offset in (0, 99, 10**30):
        _put(topics, topics.entities_topic, _event(topics.documents_topic, offset).model_dump_json().encode())
    assert padellm("consume").stdout == "doc-7  Ann person 0-3\n" * 3


def test_consume_ends_after_the_limit(topics, padellm):
    """--limit N shows N and ends."""
    for offset in range(3):
        _put(topics, topics.entities_topic, _event(topics.documents_topic, offset).model_dump_json().encode())
    lines = padellm("consume", "--limit", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["source"]["offset"] for line in lines] == [0, 1]


class _BadName(str):
    """A header name as a client writes it that does not encode names itself."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfename"


@pytest.fixture
def plain_producer(monkeypatch):
    """A producer whose record builder is Python, and so can be given a bad header name."""
    for module in (message_accumulator, producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)


def test_consume_skips_records_of_others_and_says_so(topics, padellm, plain_producer):
    """Tombstones and foreign records are skipped with a line on stderr; odd headers and times do no harm."""
    good = _event(topics.documents_topic, 99).model_dump_json().encode()
    _put(topics, topics.entities_topic, None, key=b"k")
    _put(topics, topics.entities_topic, b'{"hello": "from another team"}')
    _put(topics, topics.entities_topic, b"\xff")
    _put(topics, topics.entities_topic, good, headers=[(_BadName("x"), b"1")])
    _put(topics, topics.entities_topic, good, timestamp_ms=-62_135_596_900_000)
    shown = [padellm("consume"), padellm("consume", "--json")]
    assert [result.exit_code for result in shown] == [0, 0]
    assert [len(result.stdout.splitlines()) for result in shown] == [2, 2]
    for result in shown:
        tombstone, foreign, binary = result.stderr.splitlines()
        assert (
            tombstone == f"padellm: skipped: {topics.entities_topic}/0/0 is a tombstone, not an entity event"
        )
        assert f"{topics.entities_topic}/0/1 is not an entity event: event_id: Field required" in foreign
        assert f"{topics.entities_topic}/0/2 is not an entity event: Invalid JSON" in binary


def test_consume_shows_no_aborted_transaction(topics, padellm):
    """Records of aborted transactions are not shown, and the command ends where the topic ends with one."""
    for offset, commit in enumerate((False, True, False)):
        value = _event(topics.documents_topic, offset).model_dump_json().encode()
        _put_in_transaction(topics, topics.entities_topic, value, commit=commit)
    lines = padellm("consume", "--json").stdout.splitlines()
    assert [json.loads(line)["source"]["offset"] for line in lines] == [1]


def test_consume_skips_what_is_no_dead_letter(topics, padellm):
    """A record of another program on the dead-letter topic is skipped, and named."""
    _put(topics, topics.dead_letters_topic, b"{}", headers=[("__dlq.errors.topic", b"documents")])
    result = padellm("consume", "--dead-letters")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{topics.dead_letters_topic}/0/0 is not a dead letter" in result.stderr


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
    _put(topics, topics.dead_letters_topic, b"\xff{", headers=headers)
    line = padellm("consume", "--dead-letters").stdout
    assert line.startswith("documents/2/5  decode, not_json: no JSON")
    letter = json.loads(padellm("consume", "--dead-letters", "--json").stdout)
    assert (letter["reason"], letter["offset"], letter["value"]) == ("not_json", 5, {"base64": "/3s="})


def test_consume_names_a_missing_topic_and_does_not_create_it(settings, padellm):
    """A missing topic is named; asking for it again finds it still missing."""
    for _ in range(2):
        result = padellm("consume")
        assert result.exit_code == 1
        assert f"no topic {settings.documents_topic}: create it with `padellm topics`" in result.stderr


def test_doctor_fails_on_missing_topics_and_creates_none(settings, padellm):
    """Missing topics are failures, each with the command that creates them, and the exit status is 1."""
    result = padellm("doctor", "--json")
    assert result.exit_code == 1
    findings = {each["subject"]: each for each in json.loads(result.stdout)["findings"]}
    missing = findings[f"topic {settings.entities_topic}"]
    assert (missing["grade"], findings["broker"]["grade"]) == ("fail", "ok")
    assert "padellm topics" in missing["fix"]
    assert not _topics(settings) & set(topic_names(settings))


def test_doctor_passes_a_healthy_stack(topics, padellm):
    """With broker, topics and model in order nothing fails, and the exit status is 0."""
    result = padellm("doctor", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"]) == (0, True), report
    found = {each["subject"]: each["found"] for each in report["findings"]}
    assert found[f"topic {topics.documents_topic}"] == "1 partitions, messages up to 67,108,864 bytes"
