"""Records of other programs, opened: the JSON value that the pointers of the settings go into.

- JSON: the record's value.
- CloudEvents 1.0 (Kafka protocol binding): the event in its JSON form, whether it came in structured mode, or
  in binary mode with its attributes in headers. So ``/data/body`` and ``/id`` are the same place in both.
- Debezium: the change event (``before``, ``after``, ``op``, ``source``), without the schema that Kafka
  Connect's converter may put around it.
"""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stream.contract.pointers import json_type
from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.contract.rules import shown
from stream.errors import BadDocument
from stream.settings import RecordFormat
from stream.worker.strict_json import TooManyValues, member, parse

_MOST_VALUES = 200_000  # they take up to a hundred times as much memory as their text
_CLOUD_EVENT = "application/cloudevents"
_ATTRIBUTE = "ce_"
_ROW_NOW = {"c": "create", "u": "update", "r": "read"}
_NO_ROW = {"d": "a row was deleted", "t": "a table was truncated", "m": "a message of the database's log"}


class NoDocument(Exception):  # noqa: N818 - names what it is
    """The record is whole, and holds no document: the deletion of a row, a tombstone."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Attributes: ``value``, decoded JSON; ``raw``, the same as it is spelled."""

    value: Any
    raw: bytes


def opened(record: Record, form: RecordFormat) -> Opened:
    """Open a record.

    Args:
        record: The record.
        form: One that has pointers.

    Raises:
        NoDocument: It holds no document, and that is no fault.
        BadDocument: It is not what the form says.
    """
    return _OPENERS[form](record)


def present_value(record: Record) -> bytes:
    """The record's value.

    Raises:
        NoDocument: It is a tombstone, which deletes a key of a compacted topic.
    """
    if record.value is None:
        raise NoDocument("a tombstone")
    return record.value


def _open_json(record: Record) -> Opened:
    return _parsed(present_value(record))


def _parsed(raw: bytes) -> Opened:
    try:
        return Opened(parse(raw, most_values=_MOST_VALUES, foreign=True), raw)
    except TooManyValues as error:
        raise BadDocument(
            Reason.MESSAGE_TOO_LARGE, f"the value holds more than {_MOST_VALUES:,} values of JSON"
        ) from error


def _open_cloud_event(record: Record) -> Opened:
    raw = present_value(record)
    headers = {name.lower(): (value or b"").decode(errors="replace") for name, value in record.headers}
    content_type = headers.get("content-type", "")
    if content_type.startswith(_CLOUD_EVENT):
        return _structured(raw, content_type)
    if f"{_ATTRIBUTE}specversion" in headers:
        attributes = {
            name.removeprefix(_ATTRIBUTE): value
            for name, value in headers.items()
            if name.startswith(_ATTRIBUTE)
        }
        return _binary(attributes, raw, content_type)
    return _structured(raw, content_type)  # some producers leave the header out


def _structured(raw: bytes, content_type: str) -> Opened:
    if content_type.startswith(_CLOUD_EVENT) and not content_type.startswith(f"{_CLOUD_EVENT}+json"):
        raise BadDocument(
            Reason.CONTENT_TYPE_UNKNOWN,
            f"the content type is {shown(content_type)}; of events in structured mode JSON is read, "
            "each in a record of its own",
        )
    event = _parsed(raw)
    if not isinstance(event.value, dict) or "specversion" not in event.value:
        raise BadDocument(
            Reason.NOT_A_CLOUD_EVENT,
            "the record has no header ce_specversion, and its value no member specversion; plain JSON is "
            "read with PADELLM_RECORD_FORMAT=json",
        )
    encoded = event.value.get("data_base64")
    if encoded is None:
        return event
    attributes = {name: value for name, value in event.value.items() if name != "data_base64"}
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise BadDocument(Reason.NOT_A_CLOUD_EVENT, f"data_base64 is not base64: {error}") from error
    return _binary(attributes, data, str(attributes.get("datacontenttype", "")))


def _binary(attributes: dict[str, Any], data: bytes, content_type: str) -> Opened:
    """The event in JSON's form, of its attributes and the bytes of its data."""
    media_type, _, parameters = content_type.partition(";")
    kind = media_type.strip().lower()
    if kind in {"", "application/json", "text/json"} or kind.endswith("+json"):
        content = _parsed(data)
    elif kind.startswith("text/"):
        text = _text(data, parameters)
        content = Opened(text, json.dumps(text).encode())
    else:
        raise BadDocument(
            Reason.CONTENT_TYPE_UNKNOWN,
            f"the event's data are {shown(kind)}; JSON and text/* are read",
        )
    own = attributes | ({"datacontenttype": content_type} if content_type else {})
    own.pop("data", None)
    spelled = json.dumps(own).encode()
    return Opened(own | {"data": content.value}, b'%s,"data":%s}' % (spelled[:-1], content.raw))


def _text(data: bytes, parameters: str) -> str:
    charset = parameters.lower().replace(" ", "").replace('"', "").partition("charset=")[2]
    if charset.split(";")[0] not in {"", "utf-8", "utf8", "us-ascii"}:
        raise BadDocument(
            Reason.NOT_UTF8, f"the event's data are text in {shown(charset)}; text is read in UTF-8"
        )
    return utf8_text(data)


def utf8_text(data: bytes) -> str:
    """Text of bytes in UTF-8.

    Raises:
        BadDocument: They are not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadDocument(
            Reason.NOT_UTF8, f"the text is not UTF-8: {error.reason} at byte {error.start}"
        ) from error


def _open_change(record: Record) -> Opened:
    change = _parsed(present_value(record))
    if isinstance(change.value, dict) and {"schema", "payload"} <= change.value.keys():
        change = Opened(change.value["payload"], member(change.raw, "payload"))
    if change.value is None:
        raise NoDocument("a tombstone")
    operation = change.value.get("op") if isinstance(change.value, dict) else None
    if not isinstance(operation, str):
        found = "an object without op" if isinstance(change.value, dict) else json_type(change.value)
        raise BadDocument(
            Reason.NOT_A_CHANGE_EVENT,
            f"the value is {found}, not a change event of Debezium; rows by themselves, as "
            "ExtractNewRecordState leaves them, are read with PADELLM_RECORD_FORMAT=json",
        )
    if operation in _NO_ROW:
        raise NoDocument(_NO_ROW[operation])
    if operation not in _ROW_NOW:
        raise BadDocument(
            Reason.NOT_A_CHANGE_EVENT,
            f"the change has the op {shown(operation)}; known are {', '.join(_ROW_NOW | _NO_ROW)}",
        )
    return change


_OPENERS: dict[RecordFormat, Callable[[Record], Opened]] = {
    RecordFormat.JSON: _open_json,
    RecordFormat.CLOUDEVENTS: _open_cloud_event,
    RecordFormat.DEBEZIUM: _open_change,
}
