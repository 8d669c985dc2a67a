import io
import json
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import fastavro
import pytest
import yaml
from annotated_types import Ge, Le, MinLen
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, JsonValue

from stream.contract.headers import dead_letter_headers, event_headers, read_dead_letter, row_headers
from stream.contract.messages import Document, EntityEvent, EntityRow, ShadowDifference
from stream.schemas import asyncapi as asyncapi_module
from stream.schemas import examples
from stream.schemas.asyncapi import MODELS, asyncapi, contract_files, json_schema
from stream.schemas.avro import avro_schema
from stream.schemas.settings_page import settings_page

FOLDER = Path(__file__).parent.parent / "schemas"
MESSAGES = [
    *(examples.PLAIN, examples.DETAILED, examples.EVENT, examples.LONG_EVENT),
    *(examples.ROW, examples.EMPTY_ROW, examples.SHADOW, examples.DEAD_LETTER),
]
NAMES = {model: name for name, model in MODELS.items()}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def instances(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Any valid instance of a message; whole numbers within 64 bits, as Kafka's and Avro's are."""
    fields = {name: values(field.annotation, field.metadata) for name, field in model.model_fields.items()}
    return st.builds(model, **fields)


def values(annotation: Any, bounds: list[Any]) -> st.SearchStrategy[Any]:
    """Any value that a field of this annotation and these bounds takes."""
    if get_origin(annotation) is Annotated:
        plain, info = get_args(annotation)
        return values(plain, info.metadata)
    members = [values(argument, bounds) for argument in get_args(annotation)]
    if members:
        return generics(get_origin(annotation), members)
    if annotation is JsonValue:
        return json_values
    if issubclass(annotation, BaseModel):
        return instances(annotation)
    if issubclass(annotation, StrEnum):
        return st.sampled_from(annotation)
    return scalars(annotation, {type(bound): bound for bound in bounds})


def generics(origin: Any, members: list[st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Any value of a union, list, tuple or dictionary of the members."""
    if origin in (Union, UnionType):
        return st.one_of(members)
    if origin is list:
        return st.lists(members[0], max_size=3)
    if origin is tuple:
        return st.tuples(*members)
    return st.dictionaries(*members, max_size=3)


def scalars(kind: type, bounds: dict[type, Any]) -> st.SearchStrategy[Any]:
    """Any text, number or null within its bounds."""
    if kind is int:
        return st.integers(bounds[Ge].ge if Ge in bounds else -(2**63), 2**63 - 1)
    if kind is float:
        low, high = (bounds[Ge].ge, bounds[Le].le) if Le in bounds else (0, 1e9)
        return st.floats(low, high)
    if kind is NoneType:
        return st.none()
    shortest = bounds[MinLen].min_length if MinLen in bounds else 0
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=shortest, max_size=30)


def as_datum(message: BaseModel) -> dict[str, Any]:
    """A message as Avro takes it: JSON values as JSON text."""
    datum = message.model_dump(mode="json")
    if "metadata" in datum:
        datum["metadata"] = {name: json.dumps(value) for name, value in datum["metadata"].items()}
    return datum


def from_datum(model: type[BaseModel], datum: dict[str, Any]) -> BaseModel:
    """The message that ``as_datum`` made the datum of."""
    if "metadata" in datum:
        datum["metadata"] = {name: json.loads(text) for name, text in datum["metadata"].items()}
    return model.model_validate(datum)


def through_avro(message: BaseModel) -> BaseModel:
    """The message after a journey as Avro bytes."""
    schema = fastavro.parse_schema(avro_schema(type(message)))
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, as_datum(message), strict_allow_default=True)
    buffer.seek(0)
    return from_datum(type(message), fastavro.schemaless_reader(buffer, schema, None))


def validator(model: type[BaseModel]) -> Draft202012Validator:
    """Checks values against a message's JSON Schema."""
    return Draft202012Validator(json_schema(model, name=NAMES[model]))


def test_schemas_files_equal_the_code():
    """The committed contract files are what ``make schemas`` writes, no more and no fewer."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert committed == contract_files()


def test_schemas_settings_page_equals_the_code():
    """docs/settings.md is what ``make schemas`` writes."""
    assert (FOLDER.parent / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page()


@pytest.mark.parametrize("name", MODELS)
def test_schemas_json_schema_is_valid(name):
    """Every JSON Schema is a valid 2020-12 schema."""
    Draft202012Validator.check_schema(json.loads((FOLDER / f"{name}.schema.json").read_text()))


@pytest.mark.parametrize("name", MODELS)
def test_schemas_avro_parses(name):
    """Every Avro file parses."""
    fastavro.parse_schema(json.loads((FOLDER / f"{name}.avsc").read_text()))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_schemas_examples_round_trip(message):
    """An example message satisfies its JSON Schema and comes back equal from JSON and from Avro."""
    text = message.model_dump_json()
    validator(type(message)).validate(json.loads(text))
    assert type(message).model_validate_json(text) == message
    assert through_avro(message) == message


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_schemas_any_instance_round_trips(model):
    """Whatever the models accept, JSON Schema accepts and Avro carries unchanged."""

    @given(instances(model))
    def holds(message: BaseModel) -> None:
        validator(model).validate(json.loads(message.model_dump_json()))
        assert through_avro(message) == message

    holds()


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"text": ""},
        {"text": 7},
        {"text": "x", "unknown": 1},
        {"text": "x", "threshold": 1.5},
        {"text": "x", "policy": "best"},
        {"text": "x", "labels": "person"},
        {"text": "x", "labels": {"person": None}},
        {"text": "x", "metadata": []},
    ],
)
def test_schemas_document_schema_refuses_what_the_model_refuses(value):
    """JSON Schema and model refuse the same documents."""
    assert not validator(Document).is_valid(value)
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's message names the field
        Document.model_validate(value)


def test_schemas_asyncapi_examples_satisfy_their_schemas():
    """Every AsyncAPI example has the headers and the payload that its message promises."""
    payloads = {
        "document": Document,
        "entityEvent": EntityEvent,
        "entityRow": EntityRow,
        "shadowDifference": ShadowDifference,
    }
    for name, message in asyncapi()["components"]["messages"].items():
        for example in message["examples"]:
            Draft202012Validator(message["headers"]).validate(example.get("headers", {}))
            if name in payloads:
                validator(payloads[name]).validate(example["payload"])


def test_schemas_asyncapi_references_resolve():
    """Every reference in asyncapi.yaml names a part of it or a file beside it."""
    document = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text(encoding="utf-8"))
    for reference in references(document):
        if reference.startswith("#/"):
            part: Any = document
            for key in reference[2:].split("/"):
                part = part[key]
        else:
            assert (FOLDER / reference).is_file()


def references(part: Any) -> list[str]:
    """Every ``$ref`` in a document."""
    if isinstance(part, list):
        return [found for child in part for found in references(child)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if "$ref" in part else []
    return own + [found for child in part.values() for found in references(child)]


@pytest.mark.parametrize("truncated", [False, True])
def test_schemas_dead_letter_headers_are_the_workers(truncated):
    """What the worker writes on a dead letter is what the contract names, and every field of it is there."""
    sent = dead_letter_headers(examples.DEAD_LETTER, examples.BAD_RECORD, truncated=truncated)
    schema = asyncapi_module.dead_letter_headers_schema()
    Draft202012Validator(schema).validate({name: value.decode() for name, value in sent})
    own = {name for name, _ in sent} - {name for name, _ in examples.BAD_RECORD.headers}
    assert own == set(schema["properties"] if truncated else schema["required"])
    assert read_dead_letter(sent) == examples.DEAD_LETTER


@pytest.mark.parametrize(
    ("sent", "schema"),
    [
        (event_headers(examples.EVENT, examples.RECORD), asyncapi_module.event_headers_schema()),
        (row_headers(examples.ROW, examples.RECORD), asyncapi_module.row_headers_schema()),
    ],
    ids=["event", "row"],
)
def test_schemas_event_headers_are_the_workers(sent, schema):
    """What the worker writes on an event or a row is what the contract names."""
    Draft202012Validator(schema).validate({name: value.decode() for name, value in sent})
    assert {name for name, _ in sent} == set(schema["required"])
