"""Avro payloads as JSON, and events as Avro payloads, by fastavro.

The JSON is the plain one that Kafka Connect's JSON converter writes: no tags of unions, bytes in base64,
dates, times and decimals as the numbers or bytes below their logical types. So JSON Pointers into a record
are the same whether a connector writes Avro or JSON.
"""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro
from fastavro.read import SchemaResolutionError
from fastavro.types import Schema

from stream.bundled import contract_file
from stream.contract.messages import EntityEvent
from stream.contract.reasons import Reason
from stream.contract.rules import MAX_METADATA_BYTES, shown
from stream.errors import BadDocument


class AvroReader:
    """Payloads of one writer's schema to JSON.

    Args:
        text: The writer's schema.
        references: Texts of the schemas that it builds on, in their order.
        ours: Name of the contract's file that values are read as, by Avro's schema resolution; None reads
            them as they were written.

    Raises:
        BadDocument: The schema cannot be read, or is one that no value is safe of.
    """

    def __init__(self, text: str, references: Sequence[str] = (), *, ours: str | None = None) -> None:
        named: dict[str, Any] = {}
        try:
            for each in references:
                fastavro.parse_schema(_without_logical_types(json.loads(each)), named_schemas=named)
            self._writer = fastavro.parse_schema(
                _without_logical_types(json.loads(text)), named_schemas=named
            )
            _check(self._writer, named, (), {})
        except BadDocument:
            raise
        except Exception as error:  # whatever another program registered
            raise BadDocument(
                Reason.SCHEMA_UNSUPPORTED, f"the schema is no Avro that can be read: {shown(str(error))}"
            ) from error
        self._ours = ours
        self._reader = None if ours is None else contract_schema(ours)

    def as_json(self, payload: bytes) -> bytes:
        """A payload as JSON.

        Raises:
            BadDocument: It was not written with the schema, or is not what ``ours`` can be read from.
        """
        buffer = io.BytesIO(payload)
        try:
            value = fastavro.schemaless_reader(buffer, self._writer, self._reader)
        except SchemaResolutionError as error:
            raise BadDocument(
                Reason.SCHEMA_UNSUPPORTED,
                f"names and types of the schema do not resolve to those of {self._ours}; fields of another "
                "record are read with PADELLM_RECORD_FORMAT=json and PADELLM_TEXT_POINTERS",
            ) from error
        except Exception as error:  # fastavro has no error of its own for bytes that fit no schema
            cause = shown(str(error) or repr(error))
            raise BadDocument(
                Reason.NOT_AVRO, f"the value was not written with its schema: {cause}"
            ) from error
        if left := len(payload) - buffer.tell():
            raise BadDocument(
                Reason.NOT_AVRO, f"the value was not written with its schema: {left:,} bytes are left over"
            )
        return _spelled(_plain(value)) if self._reader is None else _message(value)


class EventWriter:
    """Entity events to Avro payloads."""

    def __init__(self) -> None:
        self._schema = contract_schema("entity-event.avsc")

    def payload(self, event: EntityEvent, metadata: Mapping[str, str]) -> bytes:
        """An event as Avro.

        Args:
            event: The event.
            metadata: JSON texts of its metadata by name, which stand for those in the event.
        """
        datum = event.model_dump(mode="json") | {"metadata": dict(metadata)}
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, self._schema, datum)
        return buffer.getvalue()


def contract_schema(name: str) -> Schema:
    """A parsed Avro schema of the contract."""
    return fastavro.parse_schema(json.loads(contract_file(name)))


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: _without_logical_types(part) for name, part in schema.items() if name != "logicalType"}
    return [_without_logical_types(part) for part in schema] if isinstance(schema, list) else schema


def _check(schema: Any, named: Mapping[str, Any], inside: tuple[str, ...], known: dict[str, bool]) -> bool:
    """Return whether every value of a schema takes at least a byte.

    Args:
        schema: A parsed schema.
        named: Parsed schemas by name.
        inside: Names of the records that it is in.
        known: Answers by name, so that no schema is looked at twice.

    Raises:
        BadDocument: A record is in itself: fastavro's reader ends the process on values that are nested deep.
            Or an array's items take no bytes: a value of some bytes could claim any number of them.
    """
    if isinstance(schema, list):
        for branch in schema:
            _check(branch, named, inside, known)
        return True  # its index
    if isinstance(schema, str):
        if schema in inside:
            raise BadDocument(
                Reason.SCHEMA_UNSUPPORTED, f"the schema is recursive: {shown(schema)} is a part of itself"
            )
        if schema in named and schema not in known:
            known[schema] = _check(named[schema], named, inside, known)
        return known.get(schema, schema != "null")
    kind = schema["type"]
    if kind in {"record", "error"}:
        within = (*inside, schema["name"])
        takes = [_check(field["type"], named, within, known) for field in schema["fields"]]
        known[schema["name"]] = any(takes)
        return known[schema["name"]]
    if kind == "array" and not _check(schema["items"], named, inside, known):
        raise BadDocument(Reason.SCHEMA_UNSUPPORTED, "the schema has an array whose items take no bytes")
    if kind == "map":
        _check(schema["values"], named, inside, known)
    return bool(schema["size"] > 0 if kind == "fixed" else kind != "null")


def _plain(value: Any) -> Any:
    """A value of fastavro's as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    return value


def _message(value: Any) -> bytes:
    """One of the contract's messages as JSON; its metadata are JSON texts, and stay as they are spelled."""
    metadata: dict[str, str] = value.pop("metadata", {})
    if sum(map(len, metadata.values())) > MAX_METADATA_BYTES:
        raise BadDocument(
            Reason.METADATA_TOO_LARGE,
            f"metadata has more than {MAX_METADATA_BYTES:,} characters; keep a reference in it instead",
        )
    for name, text in metadata.items():
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadDocument(
                Reason.NOT_JSON,
                f"metadata {shown(name)} is no JSON text: {shown(text)}; a string needs quotes",
            ) from error
    members = b",".join(b"%s:%s" % (_spelled(name), text.encode()) for name, text in metadata.items())
    return b'%s,"metadata":{%s}}' % (_spelled(_plain(value))[:-1], members)


def _spelled(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
