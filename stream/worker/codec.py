"""Record to document and entity event to bytes."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stream.contract.messages import Document, EntityEvent, Policy
from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.errors import BadDocument
from stream.settings import Settings
from stream.worker.strict_json import parse, shown

MAX_ID_CHARACTERS = 512
_ESCAPED_CHARACTER = 12  # bytes of the longest spelling of a code point: \ud83d\ude00
_FRAME = 65_536


def decode_document(record: Record, settings: Settings) -> Document:
    """Read and check the document in a record; its id is filled in from the record where it names none.

    A text may hold any characters, control characters and NUL too, as long as one of them is not white space:
    offsets stay right whatever the text is made of.

    Raises:
        BadDocument: The record holds no document; ``reason`` is one of ``Reason``.
    """
    raw = _bounded_value(record, settings)
    value = parse(raw)
    if not isinstance(value, dict):
        raise BadDocument(
            Reason.NOT_AN_OBJECT,
            f'the value is {_json_type(value)}, not a JSON object; send an object such as {{"text": "..."}}',
        )
    try:
        # JSON mode: a policy is a string there, and a whole number is a float; nothing else is converted.
        document = Document.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise _explained(error.errors()[0]) from error
    _check_text(document.text, settings)
    _check_labels(document.labels, settings)
    _check_metadata(document, settings)
    return _with_id(document, record)


def encode_event(event: EntityEvent) -> bytes:
    """The event as UTF-8 JSON."""
    return event.model_dump_json().encode()


def largest_value(settings: Settings) -> int:
    """Bytes beyond which a value cannot hold a document within the bounds, however it is escaped."""
    labels = settings.max_labels * settings.max_label_characters * 2
    characters = settings.max_text_characters + labels + settings.max_metadata_bytes
    return characters * _ESCAPED_CHARACTER + _FRAME


def _bounded_value(record: Record, settings: Settings) -> bytes:
    if record.value is None:
        raise BadDocument(
            Reason.TOMBSTONE, "the record has no value (a tombstone): there is no text to find entities in"
        )
    limit = largest_value(settings)
    if len(record.value) > limit:
        raise BadDocument(
            Reason.MESSAGE_TOO_LARGE,
            f"the value has {len(record.value):,} bytes; within the limits of this service "
            f"a document has at most {limit:,} (PADELLM_MAX_TEXT_CHARACTERS={settings.max_text_characters})",
        )
    return record.value


def _explained(error: ErrorDetails) -> BadDocument:
    """Pydantic's first complaint as a reason and a sentence."""
    field = str(error["loc"][0]) if error["loc"] else ""
    kind = error["type"]
    special = _SPECIAL.get((field, kind)) or _SPECIAL.get(("*", kind))
    if special is not None:
        reason, message = special(error)
        return BadDocument(reason, message)
    expected = _EXPECTED.get(field, "another type")
    return BadDocument(
        Reason.WRONG_TYPE,
        f"{_path(error)} is {_json_type(error['input'])} ({shown(error['input'])}); expected {expected}",
    )


def _path(error: ErrorDetails) -> str:
    """The place of an error as a person writes it, without pydantic's names for branches of a union."""
    parts = [str(part) for part in error["loc"] if not str(part).startswith(("list[", "dict[", "nullable["))]
    return ".".join(parts[:2]) or "the value"


_EXPECTED = {
    "id": "a string",
    "text": "a string",
    "labels": "a list of strings, or an object of label to definition",
    "threshold": "a number from 0 to 1",
    "policy": "one of " + ", ".join(Policy),
    "metadata": "an object",
}


def _threshold(error: ErrorDetails) -> tuple[Reason, str]:
    return (
        Reason.THRESHOLD_OUT_OF_RANGE,
        f"threshold is {shown(error['input'])}; expected {_EXPECTED['threshold']}",
    )


def _unknown_field(error: ErrorDetails) -> tuple[Reason, str]:
    known = ", ".join(Document.model_fields)
    return (
        Reason.UNKNOWN_FIELD,
        f"the field {shown(error['loc'][0])} is not known ({known} are); fields of your own go into metadata",
    )


_Explanation = Callable[[ErrorDetails], tuple[Reason, str]]
_SPECIAL: dict[tuple[str, str], _Explanation] = {
    ("text", "missing"): lambda _: (
        Reason.TEXT_MISSING,
        'the field "text" is missing; send an object such as {"text": "..."}',
    ),
    ("text", "string_too_short"): lambda _: (Reason.TEXT_EMPTY, 'the field "text" is an empty string'),
    ("policy", "enum"): lambda error: (
        Reason.POLICY_UNKNOWN,
        f"policy is {shown(error['input'])}; expected {_EXPECTED['policy']}",
    ),
    ("threshold", "greater_than_equal"): _threshold,
    ("threshold", "less_than_equal"): _threshold,
    ("*", "extra_forbidden"): _unknown_field,
}


def _check_text(text: str, settings: Settings) -> None:
    if text.isspace():
        raise BadDocument(Reason.TEXT_BLANK, f"the text is {len(text)} characters of white space only")
    if len(text) > settings.max_text_characters:
        raise BadDocument(
            Reason.TEXT_TOO_LONG,
            f"the text has {len(text):,} characters; at most {settings.max_text_characters:,} are read "
            "(PADELLM_MAX_TEXT_CHARACTERS); split the document",
        )


def _check_labels(labels: list[str] | dict[str, str] | None, settings: Settings) -> None:
    if labels is None:
        return
    if not labels:
        raise BadDocument(
            Reason.LABELS_EMPTY, "labels is empty; leave it out to look for the model's default labels"
        )
    if len(labels) > settings.max_labels:
        raise BadDocument(
            Reason.LABELS_TOO_MANY,
            f"labels names {len(labels)} labels; at most {settings.max_labels} are taken "
            "(PADELLM_MAX_LABELS)",
        )
    _check_label_names(labels, settings)
    if isinstance(labels, dict):
        for label, definition in labels.items():
            _check_length(definition, f"the definition of label {shown(label)}", settings)


def _check_label_names(labels: Iterable[str], settings: Settings) -> None:
    seen: dict[str, str] = {}
    for label in labels:
        if not label.strip():
            raise BadDocument(Reason.LABEL_BLANK, f"the label {shown(label)} is blank; name what to look for")
        _check_length(label, f"the label {shown(label)}", settings)
        folded = label.strip().casefold()
        if folded in seen:
            raise BadDocument(
                Reason.LABEL_DUPLICATE,
                f"labels names {shown(seen[folded])} and {shown(label)}, which are the same; give it once",
            )
        seen[folded] = label


def _check_length(text: str, name: str, settings: Settings) -> None:
    if len(text) > settings.max_label_characters:
        raise BadDocument(
            Reason.LABEL_TOO_LONG,
            f"{name} has {len(text):,} characters; at most {settings.max_label_characters} are taken "
            "(PADELLM_MAX_LABEL_CHARACTERS)",
        )


def _check_metadata(document: Document, settings: Settings) -> None:
    if not document.metadata:
        return
    size = len(json.dumps(document.metadata, ensure_ascii=False, separators=(",", ":")).encode())
    if size > settings.max_metadata_bytes:
        raise BadDocument(
            Reason.METADATA_TOO_LARGE,
            f"metadata has {size:,} bytes as JSON; at most {settings.max_metadata_bytes:,} are carried "
            "(PADELLM_MAX_METADATA_BYTES); keep a reference in it instead",
        )


def _with_id(document: Document, record: Record) -> Document:
    if len(document.id) > MAX_ID_CHARACTERS:
        raise BadDocument(
            Reason.ID_TOO_LONG,
            f"id has {len(document.id):,} characters; at most {MAX_ID_CHARACTERS} are taken",
        )
    if document.id:
        return document
    return document.model_copy(update={"id": _key_as_id(record.key) or record.position})


def _key_as_id(key: bytes | None) -> str:
    """The key where it can serve as an id, else nothing: a strange key is no fault of the document."""
    try:
        text = (key or b"").decode()
    except UnicodeDecodeError:
        return ""
    return text if len(text) <= MAX_ID_CHARACTERS else ""


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "another type")
