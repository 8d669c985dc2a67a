"""Settings for a topic of another program, proposed from some of its records.

The form of most records counts. Of JSON, strings of several words are texts, and a field called ``id`` is the
id; the proposal is checked by decoding the same records with it.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from stream.contract.messages import Document
from stream.contract.pointers import pointer_of
from stream.contract.record import Record
from stream.doctor.finding import Finding, fail, ok, warn
from stream.errors import BadDocument
from stream.settings import RecordFormat, Settings
from stream.settings.values import as_variable, variable
from stream.worker.codec import decode
from stream.worker.envelopes import NoDocument, opened

Way = tuple[str, ...]
"""Reference tokens of a JSON Pointer."""

_SHARE = 0.8  # of the records, from which on a form or a field is that of the topic
_WORDS = 4  # of a text; fewer are a text where the field's name says so
_TEXT_NAMES = re.compile(
    "abstract|body|comment|content|description|headline|html|message|notes?|question|answer|review|subject|"
    "subtitle|summary|teaser|text|title",
    re.IGNORECASE,
)
_ROOTS: dict[RecordFormat, Way] = {RecordFormat.DEBEZIUM: ("after",), RecordFormat.CLOUDEVENTS: ("data",)}
_IDS: dict[RecordFormat, Way] = {RecordFormat.DEBEZIUM: ("after", "id")}
_NOUNS = {
    RecordFormat.DOCUMENT: "documents of our own format",
    RecordFormat.TEXT: "plain text",
    RecordFormat.JSON: "JSON",
    RecordFormat.CLOUDEVENTS: "CloudEvents",
    RecordFormat.DEBEZIUM: "Debezium's change events",
}
_FRAME = "the records begin with byte 0, the frame of a Schema Registry serializer (Avro, Protobuf)"
_NOTHING_POINTED_AT: dict[str, Any] = {
    "text_pointers": (),
    "optional_text_pointers": (),
    "id_pointer": None,
    "labels_pointer": None,
    "metadata_pointers": (),
    "carry_all_fields": False,
}
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Proposal:
    """Settings for a topic.

    Attributes:
        findings: Of the form, the fields, and the records that the settings do not fit.
        settings: Values by variable; none where no settings can help.
    """

    findings: list[Finding]
    settings: dict[str, str]


def propose(records: Sequence[Record], settings: Settings) -> Proposal:
    """Propose settings for the topic of some records.

    Args:
        records: At least one.
        settings: The present ones; they name the topic and the bounds.
    """
    subject = f"topic {settings.documents_topic}"
    filled = [record for record in records if record.value is not None]
    if not filled:
        return Proposal([fail(subject, "every record that was read is a tombstone", "send a document")], {})
    if _most(record.value is not None and record.value.startswith(b"\0") for record in filled):
        remedy = "set PADELLM_SCHEMA_REGISTRY_URL and PADELLM_RECORD_ENCODING=registry, and ask again"
        return Proposal([fail(subject, _FRAME, remedy)], {})
    form = _form(filled)
    if form is None:
        return Proposal([fail(subject, "the records are neither text in UTF-8 nor JSON", "convert it")], {})
    chosen = _fields(filled, form) if form.has_pointers else {}
    if form.has_pointers and not chosen:
        found = f"{_NOUNS[form]}, and no string in it reads like a text"
        return Proposal([fail(subject, found, "set PADELLM_TEXT_POINTERS yourself")], {})
    chosen = {"documents_topic": settings.documents_topic, "record_format": form.value} | chosen
    return Proposal(
        list(_checked(records, form, settings, chosen)),
        {variable(name): value for name, value in chosen.items()},
    )


def _most(flags: Iterator[bool]) -> bool:
    every = list(flags)
    return sum(every) >= _SHARE * len(every)


def _form(records: Sequence[Record]) -> RecordFormat | None:
    values = [_json(record) for record in records]
    if _most(_is_own(value) for value in values):
        return RecordFormat.DOCUMENT
    for form in (RecordFormat.CLOUDEVENTS, RecordFormat.DEBEZIUM):
        if _most(_opens(record, form) for record in records):
            return form
    if _most(isinstance(value, dict | list) for value in values):
        return RecordFormat.JSON
    return RecordFormat.TEXT if _most(_is_text(record) for record in records) else None


def _json(record: Record) -> Any:
    try:
        return json.loads(record.value or b"")
    except (ValueError, RecursionError):
        return None


def _is_own(value: Any) -> bool:
    known = Document.model_fields.keys()
    return isinstance(value, dict) and isinstance(value.get("text"), str) and value.keys() <= known


def _opens(record: Record, form: RecordFormat) -> bool:
    try:
        opened(record, form)
    except BadDocument:
        return False
    except NoDocument:
        pass
    return True


def _is_text(record: Record) -> bool:
    try:
        text = (record.value or b"").decode()
    except UnicodeDecodeError:
        return False
    return "\0" not in text


def _fields(records: Sequence[Record], form: RecordFormat) -> dict[str, str]:
    """Pointers of the texts and the id; empty where no text is found."""
    leaves = [dict(_leaves(value)) for value in _opened(records, form)]
    root = _ROOTS.get(form, ())
    ways = dict.fromkeys(way for each in leaves for way in each if way[: len(root)] == root)
    texts = [way for way in ways if _reads_like_text(way, [each[way] for each in leaves if way in each])]
    if not texts:
        return {}
    everywhere = [way for way in texts if all(_filled(each.get(way)) for each in leaves)]
    id_way = _IDS.get(form, ("id",))
    has_id = all(_serves_as_id(each.get(id_way)) for each in leaves)
    named = {
        "text_pointers": everywhere,
        "optional_text_pointers": [way for way in texts if way not in everywhere],
        "id_pointer": [id_way] if has_id else [],
    }
    return {name: as_variable([pointer_of(way) for way in found]) for name, found in named.items() if found}


def _serves_as_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _opened(records: Sequence[Record], form: RecordFormat) -> Iterator[Any]:
    for record in records:
        with suppress(BadDocument, NoDocument):
            yield opened(record, form).value


def _leaves(value: Any, way: Way = ()) -> Iterator[tuple[Way, Any]]:
    """Strings and numbers of JSON with their ways; of an array those of its first item."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*way, name))
    elif isinstance(value, list):
        if value:
            yield from _leaves(value[0], (*way, "0"))
    else:
        yield way, value


def _filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _reads_like_text(way: Way, found: Sequence[Any]) -> bool:
    texts = [value for value in found if _filled(value)]
    if not texts or any(not isinstance(value, str) for value in found if value is not None):
        return False
    words = sorted(len(_WORD.findall(text)) for text in texts)[len(texts) // 2]
    name = next((part for part in reversed(way) if not part.isdigit()), "")
    return words >= (1 if _TEXT_NAMES.fullmatch(name) else _WORDS)


def _checked(
    records: Sequence[Record], form: RecordFormat, settings: Settings, chosen: dict[str, str]
) -> Iterator[Finding]:
    """Findings of decoding the records with the settings that were chosen."""
    proposed = Settings.model_validate(_NOTHING_POINTED_AT | chosen)
    outcomes: Counter[str] = Counter()
    complaints: Counter[str] = Counter()
    for record in records:
        try:
            decode(record, proposed)
        except NoDocument:
            outcomes["without a document"] += 1
        except BadDocument as bad:
            outcomes["bad"] += 1
            complaints[f"{bad.reason}: {bad}"] += 1
        else:
            outcomes["documents"] += 1
    yield ok(
        f"topic {settings.documents_topic}",
        f"{_NOUNS[form]}; of {len(records)} records {outcomes['documents']} are documents, "
        f"{outcomes['without a document']} hold none (deletions, tombstones), {outcomes['bad']} are bad",
    )
    for complaint, count in complaints.most_common(3):
        yield warn("dead letters", f"{count} of {len(records)}: {complaint}", "see docs/topics.md")
