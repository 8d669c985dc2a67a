"""Finished records as the page shows them: cut to a size, offsets in UTF-16 units, as JavaScript counts."""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from stream.contract.messages import DeadLetter, Entity, EntityEvent
from stream.contract.record import Record
from stream.contract.rules import key_as_id
from stream.offsets import OffsetScale, OffsetUnit
from stream.worker.outcome import Finished

SHOWN_CHARACTERS = 2_000  # of a text
_SHOWN_ENTITIES = 100  # of a text
_SHOWN_FIELDS = 8
_SHOWN_VALUE = 500  # bytes of a dead letter's record
_SHOWN_MESSAGE = 400
_SHOWN_LABEL = 60


def document_id(finished: Finished) -> str:
    """The id that a record's document has, or would have."""
    if isinstance(finished.outcome, EntityEvent):
        return finished.outcome.document_id
    return key_as_id(finished.record.key) or finished.record.position


def as_json(number: int, finished: Finished) -> bytes:
    """A record that has an outcome as one line of ASCII, of bounded size.

    Args:
        number: Its place among the samples.
        finished: The record.
    """
    common = {
        "number": number,
        "id": document_id(finished),
        "position": finished.record.position,
        "ms": round(finished.seconds * 1000, 1),
    }
    outcome = finished.outcome
    if isinstance(outcome, EntityEvent):
        content = _event(outcome, finished.texts)
    else:
        content = {} if outcome is None else _dead_letter(outcome, finished.record)
    return json.dumps({**common, **content}, separators=(",", ":")).encode()


def text_json(
    text: str, entities: Iterable[Entity], *, pointer: str | None = None, unit: OffsetUnit | None = None
) -> dict[str, Any]:
    """The beginning of a text with the entities that lie in it, each as ``[start, end, label, score]``.

    Args:
        text: The text, whole.
        entities: Of this text; any number.
        pointer: JSON Pointer of the text's field.
        unit: Unit of the entities' offsets.
    """
    shown = text[:SHOWN_CHARACTERS]
    # A scale over the beginning alone is right for it, and costs the same whatever the length of the text.
    given, utf_16 = OffsetScale(shown, unit or OffsetUnit.CODE_POINTS), OffsetScale(shown, OffsetUnit.UTF_16)
    spans = []
    for entity in entities:
        try:
            start, end = (utf_16.of(given.code_points(at)) for at in (entity.start, entity.end))
        except ValueError:  # beyond what is shown
            continue
        spans.append((start, end, entity.label[:_SHOWN_LABEL], round(entity.score, 3)))
    return {"field": pointer, "text": shown, "characters": len(text), "entities": spans}


def _event(event: EntityEvent, texts: Mapping[str | None, str]) -> dict[str, Any]:
    shown = islice(texts.items(), _SHOWN_FIELDS)
    return {
        "kind": "event",
        "count": len(event.entities),
        "removed": len(event.removed),
        "texts": [
            text_json(
                text,
                islice((entity for entity in event.entities if entity.field == pointer), _SHOWN_ENTITIES),
                pointer=pointer,
                unit=event.offsets,
            )
            for pointer, text in shown
        ],
    }


def _dead_letter(letter: DeadLetter, record: Record) -> dict[str, Any]:
    value = record.value or b""
    return {
        "kind": "dead_letter",
        "stage": letter.stage.value,
        "reason": letter.reason,
        "message": letter.message[:_SHOWN_MESSAGE],
        "attempts": letter.attempts,
        "value": value[:_SHOWN_VALUE].decode(errors="replace"),
        "cut_from": len(value) if len(value) > _SHOWN_VALUE else None,
    }
