"""Values by the schemas of a registry, and the registry's faults."""

import asyncio
import json
import ssl

import pytest
from aiohttp import web

from stream.contract.record import Record
from stream.errors import BadDocument, ConfigurationError, RegistryUnavailable
from stream.registry import values as values_module
from stream.registry.values import RegistryValues
from stream.registry.wire import prefixed, split
from stream.schemas import examples
from stream.settings import Settings
from tests.certificates import Authority
from tests.registry.registry_server import serving
from tests.registry.test_avro import NOTE, document_schema, event_schema, written
from tests.test_schemas import as_datum


@pytest.fixture
async def server():
    """A registry."""
    async with serving() as one:
        yield one


@pytest.fixture
async def make_values(server):
    """Values of the registry, closed behind the test."""
    made = []

    def make(**options) -> RegistryValues:
        settings = {"schema_registry_url": server.url, "record_encoding": "registry"} | options
        made.append(RegistryValues(Settings(**settings)))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def _record(schema_id: int, payload: bytes) -> Record:
    return Record("docs", 0, 1, value=prefixed(schema_id, payload))


DOCUMENT = as_datum(examples.DETAILED)


async def test_values_read_avro_and_json_by_their_ids(server, make_values):
    """One topic may hold both; each value becomes its JSON, and a tombstone stays one."""
    avro = server.add("docs-value", document_schema())
    text = server.add("docs-value", {"type": "object"}, kind="JSON")
    values = make_values()
    made = await values.document(_record(avro, written(document_schema(), DOCUMENT)))
    assert json.loads(made.value) == examples.DETAILED.model_dump(mode="json")
    assert (await values.document(_record(text, b'{"text": "Ada"}'))).value == b'{"text": "Ada"}'
    assert (await values.document(Record("docs", 0, 1))).value is None


async def test_values_read_another_programs_records_as_they_are(server, make_values):
    """With pointers the record is not taken for a document, and keeps all its fields."""
    schema = json.loads(json.dumps(NOTE).replace("logicalType", "of"))
    number = server.add("notes", schema)
    values = make_values(record_format="json", text_pointers=("/body",))
    value = {"title": None, "body": "Ada", "at": 1, "price": b"", "weight": 1.0, "tags": {}, "kind": "A"}
    made = await values.document(_record(number, written(schema, value)))
    assert json.loads(made.value) == value | {"price": ""}


async def test_values_ask_once_for_a_schema(server, make_values):
    """Many documents of a new schema ask the registry once, and later ones not at all."""
    number = server.add("docs-value", document_schema())
    values, record = make_values(), _record(number, written(document_schema(), DOCUMENT))
    await asyncio.gather(*(values.document(record) for _ in range(20)))
    assert server.asked == [f"/schemas/ids/{number}"]


async def test_values_forget_the_oldest_of_many_schemas(server, make_values, monkeypatch):
    """The cache is bounded: a schema that was pushed out is asked for again."""
    monkeypatch.setattr(values_module, "_MOST_READERS", 2)
    values = make_values()
    numbers = [server.add(f"s{number}", {"type": "object"}, kind="JSON") for number in range(3)]
    for number in (*numbers, numbers[-1], numbers[0]):
        await values.document(_record(number, b"{}"))
    assert len(values._readers) == 2
    assert server.asked == [f"/schemas/ids/{number}" for number in (*numbers, numbers[0])]


async def test_values_put_schemas_of_several_subjects_together(server, make_values):
    """References are followed, also over several steps."""
    street = {"type": "record", "name": "Street", "fields": [{"name": "name", "type": "string"}]}
    place = {"type": "record", "name": "Place", "fields": [{"name": "street", "type": "Street"}]}
    server.add("street", street)
    server.add("place", place, references=("street",))
    number = server.add(
        "notes",
        {"type": "record", "name": "N", "fields": [{"name": "place", "type": "Place"}]},
        references=("place",),
    )
    made = await make_values(record_format="json", text_pointers=("/x",)).document(
        _record(number, b"\x06Ada")
    )
    assert json.loads(made.value) == {"place": {"street": {"name": "Ada"}}}


@pytest.mark.parametrize(
    ("schema", "kind", "reason"),
    [
        (None, "", "schema_unknown"),
        ("syntax", "PROTOBUF", "schema_unsupported"),
        ("{", "AVRO", "schema_unsupported"),
    ],
)
async def test_values_refuse_schemas_that_cannot_be_read(server, make_values, schema, kind, reason):
    """An unknown id, Protobuf and a damaged schema are faults of the record, with reasons of their own."""
    number = 77 if schema is None else server.add("docs-value", schema, kind=kind)
    values = make_values()
    for _ in range(2):  # from the registry, then from the cache
        with pytest.raises(BadDocument) as refused:
            await values.document(_record(number, b"x"))
        assert refused.value.reason == reason


async def test_values_end_on_references_in_a_circle(server, make_values):
    """A schema that refers to itself over another is refused, and not followed for ever."""
    server.add("a", {"type": "record", "name": "A", "fields": []}, references=("b",))
    server.add("b", {"type": "record", "name": "A", "fields": []}, references=("a",))
    with pytest.raises(BadDocument, match="schema 1: ") as refused:
        await make_values().document(_record(1, b""))
    assert refused.value.reason == "schema_unsupported"


async def test_values_take_a_schema_that_was_registered_late(server, make_values):
    """An id that was unknown a moment ago is asked for again."""
    values = make_values()
    with pytest.raises(BadDocument):
        await values.document(_record(1, b"{}"))
    server.add("docs-value", {"type": "object"}, kind="JSON")
    assert (await values.document(_record(1, b"{}"))).value == b"{}"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, b"", "answered 500"),
        (404, b"no such page", "path of Confluent's API"),
        (404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}', "path of Confluent's API"),
        (200, b"<html>", "answered 200"),
        (200, b"[]", "without a schema"),
        (200, b'{"schema": "{}", "references": [{"name": "a"}]}', "references that name no schema"),
        (200, b'{"schema": "' + b"x" * 5_000_000, "more than"),
        (401, b"", "PADELLM_SCHEMA_REGISTRY_USERNAME"),
        (403, b"{}", "PADELLM_SCHEMA_REGISTRY_USERNAME"),
        (302, b"", "answered 302"),
    ],
)
async def test_values_hold_the_registrys_faults_against_no_record(server, make_values, status, body, words):
    """Whatever a registry, a proxy or a wrong path answers is an outage, but for an unknown id."""
    server.failure = web.Response(status=status, body=body, headers={"Location": server.url})
    with pytest.raises(RegistryUnavailable, match=words):
        await make_values().document(_record(1, b"x"))
    assert len(server.asked) == 1


async def test_values_name_a_registry_that_is_away(make_values):
    """Where nobody listens, the message names the address."""
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1:9 does not answer"):
        await make_values(schema_registry_url="http://127.0.0.1:9").document(_record(1, b"x"))


async def test_values_log_in_with_the_present_password(server, make_values, tmp_path):
    """The password's file is read at each request, so that it may be replaced."""
    password = tmp_path / "password"
    password.write_text("old")
    server.login = ("alice", "new")
    server.add("docs-value", {"type": "object"}, kind="JSON")
    values = make_values(schema_registry_username="alice", schema_registry_password_file=password)
    with pytest.raises(RegistryUnavailable) as refused:
        await values.document(_record(1, b"{}"))
    assert "old" not in str(refused.value)
    password.write_text("new\n")
    assert (await values.document(_record(1, b"{}"))).value == b"{}"


async def test_values_check_the_registrys_certificate(tmp_path, make_values):
    """A certificate of a trusted authority is taken; another is an outage that names the setting."""
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    identity = authority.issue("registry")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.certificate, identity.key)
    async with serving(context) as server:
        trusting = make_values(schema_registry_url=server.url, schema_registry_ssl_ca_location=authority.file)
        await trusting.prepare()
        other = make_values(schema_registry_url=server.url, schema_registry_ssl_ca_location=stranger.file)
        with pytest.raises(RegistryUnavailable, match="PADELLM_SCHEMA_REGISTRY_SSL_CA_LOCATION"):
            await other.prepare()


@pytest.mark.parametrize("encoding", ["avro", "json-schema"])
async def test_values_write_events_with_a_registered_schema(server, make_values, encoding):
    """An event carries the id under its topic's subject and comes back; the id is asked for once."""
    values = make_values(event_encoding=encoding, record_encoding="plain", entities_topic="out")
    number = await values.register_events()
    assert await values.register_events() == number
    server.asked.clear()
    text = examples.EVENT.model_dump_json().encode()
    made = [await values.encoded(examples.EVENT, text, {}) for _ in range(2)]
    assert server.asked == ["/subjects/out-value"]
    record = Record("out", 0, 0, value=made[0])
    assert split(record, made[0])[0] == number
    opened = await values.event(record)
    assert type(examples.EVENT).model_validate_json(opened.value) == examples.EVENT


async def test_values_wait_for_the_schema_of_the_events(server, make_values):
    """Without the schema the message names the command that registers it, and a later try finds it."""
    values = make_values(event_encoding="avro", record_encoding="plain")
    with pytest.raises(RegistryUnavailable, match="entities-value: register it with padellm topics"):
        await values.prepare()
    server.add("entities-value", (json.dumps(event_schema(), indent=2, ensure_ascii=False) + "\n"))
    await values.prepare()


async def test_values_name_the_rule_that_refuses_a_schema(server, make_values):
    """A subject whose rule of compatibility refuses the schema is an error with the registry's words."""
    server.failure = web.json_response({"error_code": 409, "message": "incompatible: text"}, status=409)
    with pytest.raises(ConfigurationError, match="incompatible: text"):
        await make_values(event_encoding="avro").register_events()
