"""Avro payloads as JSON, and events as Avro."""

import io
import json

import fastavro
import pytest

from stream.contract.messages import EntityEvent
from stream.errors import BadDocument
from stream.registry.avro import AvroReader, EventWriter, contract_schema
from stream.schemas import examples
from tests.test_schemas import FOLDER, as_datum

NOTE = {
    "type": "record",
    "name": "Note",
    "namespace": "com.acme",
    "fields": [
        {"name": "title", "type": ["null", "string"], "default": None},
        {"name": "body", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "weight", "type": "double"},
        {"name": "tags", "type": {"type": "map", "values": {"type": "array", "items": ["null", "long"]}}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
    ],
}


def written(schema, value) -> bytes:
    """A value as an independent writer of Avro has it."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), value)
    return buffer.getvalue()


def document_schema() -> dict:
    """The committed schema of a document."""
    return json.loads((FOLDER / "document.avsc").read_text())


def event_schema() -> dict:
    """The committed schema of an event."""
    return json.loads((FOLDER / "entity-event.avsc").read_text())


def test_avro_becomes_the_json_that_a_connector_writes():
    """Unions have no tags, bytes are base64, logical types are what lies below; every number is JSON."""
    value = {
        "title": "Ada",
        "body": "in Łódź",
        "at": 1_767_225_600_000,
        "price": b"\x04\xd2",
        "weight": float("inf"),
        "tags": {"a": [None, 2**62]},
        "kind": "B",
    }
    plain = json.loads(json.dumps(NOTE).replace("logicalType", "of"))
    made = AvroReader(json.dumps(NOTE)).as_json(written(plain, value))
    assert json.loads(made) == value | {"price": "BNI=", "weight": "inf"}


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"!", lambda _: b""])
def test_avro_refuses_a_value_of_another_schema(damage):
    """A value that ends too early or too late is refused, since every byte may be wrong."""
    raw = written(document_schema(), as_datum(examples.DETAILED))
    with pytest.raises(BadDocument) as refused:
        AvroReader(json.dumps(document_schema()), ours="document.avsc").as_json(damage(raw))
    assert refused.value.reason == "not_avro"


RECURSIVE = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
BOMB = {
    "type": "record",
    "name": "B",
    "fields": [
        {"name": "none", "type": {"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]}},
        {"name": "all", "type": {"type": "array", "items": "E"}},
    ],
}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (json.dumps(RECURSIVE), "recursive"),
        (json.dumps(BOMB), "items take no bytes"),
        ('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Missing"}]}', "no Avro"),
        ("{", "no Avro"),
        ("[" * 100_000, "no Avro"),
    ],
)
def test_avro_refuses_schemas_that_no_value_is_safe_of(schema, words):
    """Recursive schemas, whose deep values end the process, and items without bytes are refused."""
    with pytest.raises(BadDocument, match=words) as refused:
        AvroReader(schema)
    assert refused.value.reason == "schema_unsupported"


def test_avro_looks_at_each_named_schema_once():
    """A schema of 60 records, each with the next one twice, is checked in a moment."""
    schema = "string"
    for number in range(60):
        inner = schema if number == 0 else f"R{number - 1}"
        fields = [{"name": "a", "type": schema}, {"name": "b", "type": inner}]
        schema = {"type": "record", "name": f"R{number}", "fields": fields}
    AvroReader(json.dumps(schema))


def test_avro_reads_schemas_that_build_on_others():
    """A schema in several subjects is put together from the deepest on."""
    street = {"type": "record", "name": "acme.Street", "fields": [{"name": "name", "type": "string"}]}
    place = {"type": "record", "name": "acme.Place", "fields": [{"name": "street", "type": "acme.Street"}]}
    note = {"type": "record", "name": "acme.Note", "fields": [{"name": "place", "type": "acme.Place"}]}
    raw = b"\x06Ada"
    made = AvroReader(json.dumps(note), [json.dumps(street), json.dumps(place)]).as_json(raw)
    assert json.loads(made) == {"place": {"street": {"name": "Ada"}}}


@pytest.mark.parametrize("document", [examples.PLAIN, examples.DETAILED])
def test_avro_documents_become_documents_in_json(document):
    """A document of our own schema is the same in JSON, metadata spelled as its JSON texts."""
    raw = written(document_schema(), as_datum(document))
    made = AvroReader(json.dumps(document_schema()), ours="document.avsc").as_json(raw)
    assert json.loads(made) == document.model_dump(mode="json")


def test_avro_metadata_keep_their_spelling():
    """A number in a metadata text keeps every digit."""
    datum = as_datum(examples.PLAIN) | {"metadata": {"n": "1.10000000000000000000001"}}
    made = AvroReader(json.dumps(document_schema()), ours="document.avsc").as_json(
        written(document_schema(), datum)
    )
    assert b'"metadata":{"n":1.10000000000000000000001}' in made.replace(b'": ', b'":')


@pytest.mark.parametrize(
    ("text", "reason"),
    [("Ada", "not_json"), ("[" * 60_000, "not_json"), ('"' + "x" * 70_000, "metadata_too_large")],
)
def test_avro_refuses_metadata_that_are_no_json(text, reason):
    """A metadata text that is no JSON, or too long, is refused."""
    raw = written(document_schema(), as_datum(examples.PLAIN) | {"metadata": {"n": text}})
    with pytest.raises(BadDocument) as refused:
        AvroReader(json.dumps(document_schema()), ours="document.avsc").as_json(raw)
    assert refused.value.reason == reason


def test_avro_old_and_new_documents_are_read():
    """A producer may write fewer fields (an older schema) or more (a newer one) than this reader knows."""
    older, newer = document_schema(), document_schema()
    older["fields"] = [field for field in older["fields"] if field["name"] in {"id", "text"}]
    newer["fields"].append({"name": "language", "type": "string", "default": "en"})
    for schema, more in ((older, {}), (newer, {"language": "pl"})):
        datum = {"id": "a", "text": "Ada", "metadata": {}} | more
        made = AvroReader(json.dumps(schema), ours="document.avsc").as_json(written(schema, datum))
        assert json.loads(made) == examples.Document(id="a", text="Ada").model_dump(mode="json")


def test_avro_refuses_another_record_as_a_document():
    """A record of another program is not taken for a document; the message names the way with pointers."""
    value = {"body": "Ada", "at": 1, "price": b"", "weight": 1.0, "tags": {}, "kind": "A"}
    plain = json.loads(json.dumps(NOTE).replace("logicalType", "of"))
    with pytest.raises(BadDocument, match="PADELLM_TEXT_POINTERS") as refused:
        AvroReader(json.dumps(plain), ours="document.avsc").as_json(written(plain, value))
    assert refused.value.reason == "schema_unsupported"


@pytest.mark.parametrize("event", [examples.EVENT, examples.LONG_EVENT])
def test_avro_events_are_read_by_an_independent_reader(event):
    """An independent reader has an event with the committed schema as the model has it."""
    texts = {name: json.dumps(value) for name, value in event.metadata.items()}
    raw = EventWriter().payload(event, texts)
    read = fastavro.schemaless_reader(io.BytesIO(raw), fastavro.parse_schema(event_schema()), None)
    read["metadata"] = {name: json.loads(text) for name, text in read["metadata"].items()}
    assert EntityEvent.model_validate(read) == event


def test_avro_events_are_read_by_older_and_newer_readers():
    """A reader of an older schema reads new events, and today's reader reads old ones."""
    older = event_schema()
    older["fields"] = [field for field in older["fields"] if field["name"] not in {"offsets", "fields"}]
    new = EventWriter().payload(examples.EVENT, {})
    ours, theirs = contract_schema("entity-event.avsc"), fastavro.parse_schema(older)
    assert fastavro.schemaless_reader(io.BytesIO(new), ours, theirs)["event_id"] == examples.EVENT.event_id
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, theirs, as_datum(examples.EVENT))
    made = AvroReader(json.dumps(older), ours="entity-event.avsc").as_json(buffer.getvalue())
    assert EntityEvent.model_validate_json(made) == examples.EVENT
