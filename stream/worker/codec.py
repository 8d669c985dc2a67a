"""Record to document and entity event to bytes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stream.contract.messages import Document, EntityEvent, EntityRow, Policy
from stream.contract.pointers import json_type
from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.contract.rules import (
    MAX_ID_CHARACTERS,
    MAX_LABEL_CHARACTERS,
    MAX_METADATA_BYTES,
    check_label_count,
    check_labels,
    check_text,
    key_as_id,
    shown,
)
from stream.errors import BadDocument
from stream.offsets import OffsetUnit
from stream.settings import RecordFormat, Settings
from stream.worker.envelopes import NoDocument, opened, present_value, utf8_text
from stream.worker.fields import id_of, labels_of, metadata_of, texts_of
from stream.worker.strict_json import TooManyValues, member, parse

_ESCAPED_CHARACTER = 12  # bytes of the longest spelling of a code point: \ud83d\ude00
_FRAME = 65_536


@dataclass(frozen=True, slots=True)
class Decoded:
    """A document, and what of its record it does not hold.

    Attributes:
        document: Its id is filled in; its text is the first one where there are fields.
        fields: Texts by their JSON Pointers; none where the document is one text.
        metadata: As they are spelled in the record; empty where there are none.
    """

    document: Document
    fields: Mapping[str, str] = field(default_factory=dict)
    metadata: bytes = b""

    @property
    def texts(self) -> dict[str | None, str]:
        """All texts by the pointers of their fields; None for the one of a document without fields."""
        fields = cast("dict[str | None, str]", dict(self.fields))  # a dict's keys are invariant
        return fields or {None: self.document.text}


def decode(record: Record, settings: Settings) -> Decoded:
    """Read and check the document in a record, whose form the settings name.

    Raises:
        stream.worker.envelopes.NoDocument: There is none, and that is no fault.
        BadDocument: There is none as the settings describe it; ``reason`` is one of ``Reason``.
    """
    match settings.record_format:
        case RecordFormat.DOCUMENT:
            return _own(record, settings)
        case RecordFormat.TEXT:
            return _plain(record, settings)
        case _:
            return _pointed_at(record, settings)


def texts_in(record: Record, settings: Settings) -> dict[str | None, str]:
    """The texts of a record as ``Decoded.texts``; there are none where the record holds no document."""
    try:
        return decode(record, settings).texts
    except (BadDocument, NoDocument):
        return {}


def decode_document(record: Record, settings: Settings) -> Document:
    """Read and check the document in a record of our own format.

    Raises:
        BadDocument: The record holds no document; ``reason`` is one of ``Reason``.
    """
    return _own(record, settings).document


def encode_event(event: EntityEvent | EntityRow, metadata: bytes) -> bytes:
    """An event or a row as UTF-8 JSON, with its metadata spelled as in the record of its document.

    A number of JSON may have more digits than a float keeps.
    """
    if not metadata:
        return event.model_dump_json().encode()
    whole = event.model_dump_json(exclude={"metadata"}).encode()
    return b'%s,"metadata":%s}' % (whole[:-1], metadata)


def _own(record: Record, settings: Settings) -> Decoded:
    raw = _bounded_value(record, settings)
    try:
        value = parse(raw, most_values=_most_values(settings))
    except TooManyValues as error:
        raise _too_many_values(error, settings) from error
    if not isinstance(value, dict):
        raise _not_an_object(json_type(value))
    _check_members(value, settings)
    try:
        # JSON mode: a policy is a string there, and a whole number is a float; nothing else is converted.
        document = Document.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise _explained(error.errors()[0]) from error
    check_text(document.text, most=settings.max_text_characters)
    check_labels(document.labels, most=settings.max_labels)
    metadata = _spelled_metadata(raw) if document.metadata else b""
    return Decoded(_with_id(document, record), metadata=metadata)


def _plain(record: Record, settings: Settings) -> Decoded:
    text = utf8_text(present_value(record))
    if not text:
        raise BadDocument(Reason.TEXT_EMPTY, "the value has 0 bytes: there is no text to find entities in")
    check_text(text, most=settings.max_text_characters)
    return Decoded(_with_id(Document(text=text), record))


def _pointed_at(record: Record, settings: Settings) -> Decoded:
    content = opened(record, settings.record_format)
    texts = texts_of(content.value, settings)
    metadata = metadata_of(content, settings)
    document = Document(
        id=id_of(content.value, settings),
        text=next(iter(texts.values())),
        labels=labels_of(content.value, settings),
        metadata=parse(metadata or b"{}", foreign=True),
    )
    return Decoded(_with_id(document, record), fields=texts, metadata=metadata)


def largest_value(settings: Settings) -> int:
    """Bytes beyond which a value cannot hold a document within the bounds, however it is escaped."""
    labels = settings.max_labels * MAX_LABEL_CHARACTERS * 2
    characters = settings.max_text_characters + labels + MAX_METADATA_BYTES
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


def _most_values(settings: Settings) -> int:
    """Values beyond which JSON cannot be a document within the bounds."""
    return len(Document.model_fields) + 2 * settings.max_labels + MAX_METADATA_BYTES


def _too_many_values(error: TooManyValues, settings: Settings) -> BadDocument:
    """A reason for JSON with too many values, by the place of most of them."""
    most = f"more than {_most_values(settings):,} values"
    if not error.name:
        return _not_an_object(f"{most} without names")
    try:
        field = json.loads(error.name)
    except ValueError:
        return BadDocument(Reason.NOT_JSON, f"the value is not JSON: {shown(error.name)} is no name")
    if field not in Document.model_fields:
        return _unknown_field(field)
    if error.depth == 1:
        return BadDocument(Reason.DUPLICATE_KEY, f"the value has {most}, {shown(field)} among them twice")
    reason, remedy = {
        "labels": (Reason.LABELS_TOO_MANY, f"at most {settings.max_labels} are taken (PADELLM_MAX_LABELS)"),
        "metadata": (Reason.METADATA_TOO_LARGE, "keep a reference in it instead"),
    }.get(field, (Reason.WRONG_TYPE, f"expected {_EXPECTED[field]}"))
    return BadDocument(reason, f"{field} holds {most}; {remedy}")


def _check_members(value: dict[str, Any], settings: Settings) -> None:
    """Check names and number of members here: pydantic makes an error of each, a kilobyte in size."""
    if "text" not in value:
        raise BadDocument(
            Reason.TEXT_MISSING, 'the field "text" is missing; send an object such as {"text": "..."}'
        )
    for name in value:
        if name not in Document.model_fields:
            raise _unknown_field(name)
    labels = value.get("labels")
    if isinstance(labels, list | dict):
        check_label_count(len(labels), most=settings.max_labels)


def _not_an_object(found: str) -> BadDocument:
    return BadDocument(
        Reason.NOT_AN_OBJECT,
        f'the value is {found}, not a JSON object; send an object such as {{"text": "..."}}',
    )


def _unknown_field(name: str) -> BadDocument:
    known = ", ".join(Document.model_fields)
    return BadDocument(
        Reason.UNKNOWN_FIELD,
        f"the field {shown(name)} is not known ({known} are); fields of your own go into metadata",
    )


def _explained(error: ErrorDetails) -> BadDocument:
    """Pydantic's first complaint as a reason and a sentence."""
    field = str(error["loc"][0]) if error["loc"] else ""
    kind = error["type"]
    special = _SPECIAL.get((field, kind))
    if special is not None:
        reason, message = special(error)
        return BadDocument(reason, message)
    expected = _EXPECTED.get(field, "another type")
    return BadDocument(
        Reason.WRONG_TYPE,
        f"{_path(error)} is {json_type(error['input'])} ({shown(error['input'])}); expected {expected}",
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
    "offsets": "one of " + ", ".join(OffsetUnit),
    "metadata": "an object",
}


def _threshold(error: ErrorDetails) -> tuple[Reason, str]:
    return (
        Reason.THRESHOLD_OUT_OF_RANGE,
        f"threshold is {shown(error['input'])}; expected {_EXPECTED['threshold']}",
    )


_Explanation = Callable[[ErrorDetails], tuple[Reason, str]]
_SPECIAL: dict[tuple[str, str], _Explanation] = {
    ("text", "string_too_short"): lambda _: (Reason.TEXT_EMPTY, 'the field "text" is an empty string'),
    ("policy", "enum"): lambda error: (
        Reason.POLICY_UNKNOWN,
        f"policy is {shown(error['input'])}; expected {_EXPECTED['policy']}",
    ),
    ("offsets", "enum"): lambda error: (
        Reason.OFFSETS_UNKNOWN,
        f"offsets is {shown(error['input'])}; expected {_EXPECTED['offsets']}",
    ),
    ("threshold", "greater_than_equal"): _threshold,
    ("threshold", "less_than_equal"): _threshold,
}


def _spelled_metadata(raw: bytes) -> bytes:
    spelled = member(raw, "metadata")
    if len(spelled) > MAX_METADATA_BYTES:
        raise BadDocument(
            Reason.METADATA_TOO_LARGE,
            f"metadata has {len(spelled):,} bytes, white space apart; at most {MAX_METADATA_BYTES:,} are "
            "carried; keep a reference in it instead",
        )
    return spelled


def _with_id(document: Document, record: Record) -> Document:
    if len(document.id) > MAX_ID_CHARACTERS:
        raise BadDocument(
            Reason.ID_TOO_LONG,
            f"id has {len(document.id):,} characters; at most {MAX_ID_CHARACTERS} are taken",
        )
    if document.id:
        return document
    return document.model_copy(update={"id": key_as_id(record.key) or record.position})
