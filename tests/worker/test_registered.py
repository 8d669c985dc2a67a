"""The handler with a schema registry: its outages, and the records it has no schema for."""

import asyncio
import itertools
import json
import time

import pytest
from aiohttp import web

from stream.contract.messages import EntityEvent
from stream.contract.record import Record
from stream.registry.values import RegistryValues
from stream.registry.wire import prefixed
from stream.schemas import examples
from stream.settings import Settings
from stream.worker.health_state import DependencyStatus
from stream.worker.registered import PART, RegisteredValues
from tests.registry.registry_server import serving
from tests.registry.test_avro import document_schema, written
from tests.test_schemas import as_datum


@pytest.fixture
async def registered(metrics, health, monkeypatch):
    """A registry, values of it whose retries come at once, and the options of both."""
    monkeypatch.setattr("stream.worker.registered.pauses", lambda **_: itertools.repeat(0.01))
    async with serving() as server:
        options = {
            "schema_registry_url": server.url,
            "record_encoding": "registry",
            "event_encoding": "avro",
        }
        values = RegistryValues(Settings(**options))
        health.registry = DependencyStatus(PART, metrics)
        yield server, RegisteredValues(values, metrics, health.registry), options
        await values.close()


def _document(schema_id: int) -> Record:
    payload = written(document_schema(), as_datum(examples.DETAILED))
    return Record("docs", 0, 1, value=prefixed(schema_id, payload))


async def test_registered_documents_become_registered_events(registered, make_handler, publisher):
    """Avro in, Avro out: metadata come back, and the content type says Avro."""
    server, values, options = registered
    number = server.add("docs-value", document_schema())
    await values._values.register_events()
    await make_handler(values=values, **options).handle(_document(number), time.monotonic())
    (sent,) = publisher.sent
    opened = await values._values.event(Record("entities", 0, 0, value=sent.value))
    event = EntityEvent.model_validate_json(opened.value)
    assert (event.document_id, event.metadata) == ("note-2", examples.DETAILED.metadata)
    assert dict(sent.headers)["content-type"] == b"application/avro"


async def test_registered_records_without_a_schema_are_dead_letters(
    registered, make_handler, publisher, health
):
    """An unknown id is the record's fault: the dead letter has the original bytes, and nothing is down."""
    _, values, options = registered
    record = _document(77)
    await make_handler(values=values, **options).handle(record, time.monotonic())
    (sent,) = publisher.sent
    assert dict(sent.headers)["padellm.reason"] == b"schema_unknown"
    assert sent.value == record.value
    assert PART not in health.outages()


async def test_registered_outages_are_waited_out(registered, make_handler, publisher, health):
    """While the registry is away the document waits and readiness says so; then it is an event."""
    server, values, options = registered
    number = server.add("docs-value", document_schema())
    await values._values.register_events()
    server.failure = web.Response(status=503)
    handling = asyncio.create_task(
        make_handler(values=values, **options).handle(_document(number), time.monotonic())
    )
    await asyncio.sleep(0.2)
    assert "answered 503" in health.outages()[PART]
    assert not publisher.sent
    server.failure = None
    await handling
    (sent,) = publisher.sent
    assert "padellm.reason" not in dict(sent.headers)
    assert PART not in health.outages()


async def test_registered_schemas_outlive_the_registry(registered, make_handler, publisher):
    """With the schemas known, a registry that is away holds nothing up."""
    server, values, options = registered
    number = server.add("docs-value", document_schema())
    await values._values.register_events()
    handler = make_handler(values=values, **options)
    await handler.handle(_document(number), time.monotonic())
    server.failure = web.Response(status=503)
    await asyncio.wait_for(handler.handle(_document(number), time.monotonic()), 5)
    assert len(publisher.sent) == 2


async def test_registered_json_events_are_the_plain_ones_behind_an_id(registered, make_handler, publisher):
    """With json-schema the value is the id, and the same JSON as without a registry."""
    server, values, options = registered
    options |= {"event_encoding": "json-schema"}
    values._values.settings = Settings(**options)
    number = server.add("docs-value", document_schema())
    events = await values._values.register_events()
    await make_handler(values=values, **options).handle(_document(number), time.monotonic())
    (sent,) = publisher.sent
    assert sent.value[:5] == prefixed(events, b"")
    assert json.loads(sent.value[5:])["metadata"] == examples.DETAILED.metadata
