"""Avro and JSON Schema through a real Apicurio Registry, on a real broker."""

import asyncio
import io
import json
import uuid
from typing import Any

import aiohttp
import avro.schema
import pytest
from avro.io import BinaryDecoder, DatumReader
from typer.testing import CliRunner

from stream.cli import main
from stream.contract.messages import EntityEvent
from stream.errors import ConfigurationError
from stream.registry.client import RegisteredSchema, SchemaRegistry
from stream.settings import Settings
from stream.settings.variables import environment
from tests.integration.registry_fixture import Apicurio
from tests.integration.worker_fixture import Bench
from tests.registry.test_avro import document_schema, event_schema, written

pytestmark = pytest.mark.integration

DOCUMENTS = 2_000


def _registered(bench: Bench, apicurio: Apicurio, **options: Any) -> Settings:
    """Settings of the bench's worker with the registry; they are those of the workers from then on."""
    given = {name: getattr(bench.settings, name) for name in bench.settings.model_fields_set}
    chosen = {"schema_registry_url": apicurio.url, "record_encoding": "registry", "event_encoding": "avro"}
    bench.settings = Settings(**given | chosen | options)
    return bench.settings


async def _register(settings: Settings, subject: str, schema: Any, kind: str = "AVRO") -> int:
    registry = SchemaRegistry(settings)
    try:
        return await registry.register(subject, RegisteredSchema(kind, json.dumps(schema)))
    finally:
        await registry.close()


async def _register_events(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the schema of the events as an operator does."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    answer = await asyncio.to_thread(CliRunner().invoke, main, ["topics"])
    assert f"{settings.entities_topic}-value: schema " in answer.output, answer.output


async def _send(bench: Bench, values: list[bytes | None]) -> None:
    async with bench.producer() as producer:
        for number, value in enumerate(values):
            await producer.send(bench.settings.documents_topic, value, key=b"%d" % number)
        await producer.flush()


def _framed(schema_id: int, payload: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + payload


async def _written_with(apicurio: Apicurio, value: bytes) -> Any:
    """The schema that the registry has for a value, asked for without this service's client."""
    async with aiohttp.ClientSession() as session:
        path = f"{apicurio.url}/schemas/ids/{int.from_bytes(value[1:5], 'big')}"
        async with session.get(path) as answer:
            return avro.schema.parse((await answer.json(content_type=None))["schema"])


async def test_registry_avro_documents_become_avro_events(bench, apicurio, monkeypatch):
    """2,000 Avro documents become as many Avro events, which Apache's own reader reads by their ids."""
    settings = _registered(bench, apicurio)
    await _register_events(settings, monkeypatch)
    number = await _register(settings, f"{settings.documents_topic}-value", document_schema())
    documents = [
        {"id": f"doc-{each}", "text": f"Name{each} came.", "metadata": {"n": f"{each}.50"}}
        for each in range(DOCUMENTS)
    ]
    await _send(bench, [_framed(number, written(document_schema(), each)) for each in documents])
    await bench.start_worker().is_ready()
    records = await bench.outcomes(lambda records: len(records) >= DOCUMENTS)
    assert {record.topic for record in records} == {settings.entities_topic}
    reader = DatumReader(await _written_with(apicurio, records[0].value))
    seen = {}
    for record in records:
        event: Any = reader.read(BinaryDecoder(io.BytesIO(record.value[5:])))
        seen[event["document_id"]] = event["entities"][0]["text"], event["metadata"]["n"]
    assert len({record.value[:5] for record in records}) == 1
    assert seen == {f"doc-{each}": (f"Name{each}", f"{each}.50") for each in range(DOCUMENTS)}


NOTE = {
    "type": "record",
    "name": "Envelope",
    "namespace": "crm.public.notes",
    "fields": [
        {"name": "op", "type": "string"},
        {
            "name": "after",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "Value",
                    "fields": [{"name": "id", "type": "long"}, {"name": "title", "type": ["null", "string"]}],
                },
            ],
        },
    ],
}


async def test_registry_records_of_others_are_read_by_pointers(bench, apicurio, monkeypatch):
    """Debezium's Avro is read by pointers into JSON events; an unknown id is a dead letter."""
    settings = _registered(
        bench,
        apicurio,
        event_encoding="json-schema",
        record_format="debezium",
        text_pointers=("/after/title",),
        id_pointer="/after/id",
    )
    await _register_events(settings, monkeypatch)
    number = await _register(settings, f"{settings.documents_topic}-value", NOTE)
    row = written(NOTE, {"op": "c", "after": {"id": 7, "title": "Ada called."}})
    deleted = written(NOTE, {"op": "d", "after": None})
    lost = _framed(9_999_999, row)
    await _send(bench, [_framed(number, row), _framed(number, deleted), lost, None])
    await bench.start_worker().is_ready()
    records = {record.topic: record for record in await bench.outcomes(lambda records: len(records) >= 2)}
    letter = records[settings.dead_letters_topic]
    assert (dict(letter.headers)["padellm.reason"], letter.value) == (b"schema_unknown", lost)
    event = EntityEvent.model_validate_json(records[settings.entities_topic].value[5:])
    assert (event.document_id, event.entities[0].field) == ("7", "/after/title")


async def test_registry_that_is_away_is_waited_for(bench, apicurio, monkeypatch):
    """A worker without its registry or its schema is not ready and says why; documents wait for both."""
    settings = _registered(bench, apicurio)
    number = await _register(settings, f"{settings.documents_topic}-value", document_schema())
    value = _framed(number, written(document_schema(), {"id": "a", "text": "Ada", "metadata": {}}))
    await _send(bench, [value])
    worker = bench.start_worker()
    await worker.says("/readyz", f"{settings.entities_topic}-value: register it with padellm topics")
    await _register_events(settings, monkeypatch)
    await worker.is_ready()
    assert len(await bench.outcomes(lambda records: len(records) >= 1)) == 1
    apicurio.stop()
    other = _framed(number + 1000, value[5:])
    await _send(bench, [value, other])  # a known schema, and one that must be asked for
    assert len(await bench.outcomes(lambda records: len(records) >= 2)) == 2
    await worker.says("/readyz", "schema_registry")
    apicurio.start()
    (letter,) = await bench.outcomes(lambda records: len(records) >= 1, topics=(settings.dead_letters_topic,))
    assert dict(letter.headers)["padellm.reason"] == b"schema_unknown"


@pytest.mark.parametrize("message", ["document", "entity-event"])
async def test_registry_takes_compatible_schemas_alone(apicurio, message):
    """Under the rule FULL a new field with a default is taken, and one without is refused."""
    settings = Settings(schema_registry_url=apicurio.url, record_encoding="registry")
    schema = document_schema() if message == "document" else event_schema()
    name = f"{uuid.uuid4().hex}-value"
    await _register(settings, name, schema)
    async with aiohttp.ClientSession() as session:
        rule = {"compatibility": "FULL"}
        async with session.put(f"{apicurio.url}/config/{name}", json=rule) as answer:
            assert answer.status == 200
    field = {"name": "language", "type": "string"}
    with pytest.raises(ConfigurationError, match="refuses the schema"):
        await _register(settings, name, schema | {"fields": [*schema["fields"], field]})
    newer = schema | {"fields": [*schema["fields"], field | {"default": "en"}]}
    await _register(settings, name, newer)
