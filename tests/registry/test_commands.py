"""The commands with a schema registry."""

from aiokafka.structs import ConsumerRecord
from typer.testing import CliRunner

from stream.cli import main
from stream.cli.consume import _in_json
from stream.doctor.finding import Grade
from stream.doctor.registry import check_registry
from stream.kafka.reader import read_event
from stream.registry.values import RegistryValues
from stream.schemas import examples
from stream.settings import Settings
from tests.registry.registry_server import serving


def _consumed(value: bytes, offset: int) -> ConsumerRecord:
    return ConsumerRecord("entities", 0, offset, 0, 0, b"k", value, None, 1, len(value), ())


async def test_commands_consume_shows_events_in_json(capsys):
    """Avro events are shown as those in JSON; a value without an id is skipped with a line on stderr."""
    async with serving() as server:
        values = RegistryValues(Settings(schema_registry_url=server.url, event_encoding="avro"))
        await values.register_events()
        text = examples.EVENT.model_dump_json().encode()
        avro = await values.encoded(examples.EVENT, text, {})

        async def records():
            yield _consumed(text, 0)
            yield _consumed(avro, 1)

        shown = [read_event(record) async for record in _in_json(records(), values)]
        await values.close()
    assert shown == [examples.EVENT]
    assert "entities/0/0: the value does not begin with byte 0" in capsys.readouterr().err


async def test_commands_doctor_looks_at_the_registry():
    """A registry that is away, or lacks the schema of the events, is a fault with its fix."""
    async with serving() as server:
        settings = Settings(schema_registry_url=server.url, event_encoding="avro")
        missing = await check_registry(settings)
        values = RegistryValues(settings)
        await values.register_events()
        await values.close()
        there = await check_registry(settings)
    away = await check_registry(settings)
    assert [each.grade for each in (missing, there, away)] == [Grade.FAIL, Grade.OK, Grade.FAIL]
    assert "padellm topics" in missing.found


def test_commands_that_speak_plain_json_say_so(monkeypatch, tmp_path):
    """Produce and up end at once with a sentence, and send nothing that the worker would not take."""
    monkeypatch.setenv("PADELLM_SCHEMA_REGISTRY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PADELLM_RECORD_ENCODING", "registry")
    for command in (["produce", "-"], ["up", "--data-dir", str(tmp_path)]):
        answer = CliRunner().invoke(main, command, input="Ada\n")
        assert answer.exit_code != 0
        assert "registry" in f"{answer.output}{answer.exception}"
