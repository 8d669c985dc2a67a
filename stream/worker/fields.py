"""Fields of an opened record that the settings point at: texts, id, labels and metadata."""

from typing import Any

from stream.contract.pointers import PointerFindsNothing, json_type, resolve
from stream.contract.reasons import Reason
from stream.contract.rules import MAX_METADATA_BYTES, check_labels, check_text, shown
from stream.errors import BadDocument
from stream.settings import RecordFormat, Settings
from stream.worker.envelopes import Opened
from stream.worker.spelling import spelled, spelled_without
from stream.worker.strict_json import refuse_surrogates

_UNAVAILABLE = "__debezium_unavailable_value"
_Labels = list[str] | dict[str, str] | None


def texts_of(value: Any, settings: Settings) -> dict[str, str]:
    """The texts of a record by their pointers, in the order of the settings; at least one.

    Raises:
        BadDocument: A text is missing, no string, blank or too long; names the pointer.
    """
    texts = {pointer: _required(value, pointer, settings) for pointer in settings.text_pointers}
    for pointer in settings.optional_text_pointers:
        found = _optional(value, pointer)
        if found is not None and (not isinstance(found, str) or found.strip()):
            texts[pointer] = _checked(found, pointer, settings)
    if not texts:
        wanted = ", ".join(settings.optional_text_pointers)
        raise BadDocument(Reason.TEXT_NOT_FOUND, f"the record has a text in none of {wanted}")
    return texts


def id_of(value: Any, settings: Settings) -> str:
    """The document id, empty where the settings do not point at one.

    Raises:
        BadDocument: There is none in the record.
    """
    if settings.id_pointer is None:
        return ""
    try:
        found = resolve(value, settings.id_pointer)
    except PointerFindsNothing as error:
        raise BadDocument(Reason.ID_NOT_FOUND, f"the id is missing: {error} (PADELLM_ID_POINTER)") from error
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise BadDocument(
            Reason.ID_NOT_FOUND,
            f"the id at {settings.id_pointer} is {_seen(found)}; expected a string or a whole number "
            "(PADELLM_ID_POINTER)",
        )
    refuse_surrogates(found)
    return str(found)


def labels_of(value: Any, settings: Settings) -> _Labels:
    """The labels; None where the record has none.

    Raises:
        BadDocument: They are no labels.
    """
    found = None if settings.labels_pointer is None else _optional(value, settings.labels_pointer)
    if found is None:
        return None
    names = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadDocument(
            Reason.WRONG_TYPE,
            f"the labels at {settings.labels_pointer} are {_seen(found)}; expected a list of strings, or an "
            "object of label to definition",
        )
    refuse_surrogates(found)
    labels: _Labels = found
    check_labels(labels, most=settings.max_labels)
    return labels


def metadata_of(opened: Opened, settings: Settings) -> bytes:
    """The metadata as they are spelled in the record; empty where none are asked for.

    Raises:
        BadDocument: They are too large.
    """
    if settings.carry_all_fields:
        metadata = spelled_without(opened.raw, settings.text_pointers + settings.optional_text_pointers)
    elif settings.metadata_pointers:
        metadata = spelled(opened.raw, settings.metadata_pointers)
    else:
        return b""
    if len(metadata) > MAX_METADATA_BYTES:
        raise BadDocument(
            Reason.METADATA_TOO_LARGE,
            f"the fields to carry along have {len(metadata):,} bytes; at most {MAX_METADATA_BYTES:,} are "
            "carried; point at fewer with PADELLM_METADATA_POINTERS",
        )
    return metadata


def _required(value: Any, pointer: str, settings: Settings) -> str:
    try:
        found = resolve(value, pointer)
    except PointerFindsNothing as error:
        raise BadDocument(
            Reason.TEXT_NOT_FOUND,
            f"{error}; correct PADELLM_TEXT_POINTERS, or name it in PADELLM_OPTIONAL_TEXT_POINTERS",
        ) from error
    if found is None:
        raise BadDocument(
            Reason.TEXT_NOT_A_STRING,
            f"the text at {pointer} is null; a field that may be empty goes into "
            "PADELLM_OPTIONAL_TEXT_POINTERS",
        )
    return _checked(found, pointer, settings)


def _checked(found: Any, pointer: str, settings: Settings) -> str:
    if not isinstance(found, str):
        raise BadDocument(
            Reason.TEXT_NOT_A_STRING, f"the text at {pointer} is {_seen(found)}; expected a string"
        )
    if found == _UNAVAILABLE and settings.record_format is RecordFormat.DEBEZIUM:
        raise BadDocument(
            Reason.TEXT_UNAVAILABLE,
            f"the change does not hold the text at {pointer}: the row was updated without it, and the "
            "database logs long values only when they change; ALTER TABLE ... REPLICA IDENTITY FULL",
        )
    if not found:
        raise BadDocument(Reason.TEXT_EMPTY, f"the text at {pointer} is an empty string")
    try:
        refuse_surrogates(found)
        check_text(found, most=settings.max_text_characters)
    except BadDocument as bad:
        raise BadDocument(bad.reason, f"{pointer}: {bad}") from bad
    return found


def _optional(value: Any, pointer: str) -> Any:
    try:
        return resolve(value, pointer)
    except PointerFindsNothing:
        return None


def _seen(value: Any) -> str:
    kind = json_type(value)
    return kind if value is None else f"{kind} ({shown(value)})"
