"""Records as they travel, for AsyncAPI and for tests; built from the models, so they are valid."""

import json
from dataclasses import dataclass

from stream.contract.entity_rows import rows_of
from stream.contract.headers import dead_letter_headers, event_headers, row_headers
from stream.contract.messages import (
    Coverage,
    DeadLetter,
    Document,
    Entity,
    EntityEvent,
    EntityRow,
    ModelInfo,
    Policy,
    Removed,
    ShadowDifference,
    Source,
)
from stream.contract.reasons import Reason, Stage
from stream.contract.record import Headers, Record

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

PLAIN = Document(id="note-1", text="Ada Lovelace met Charles Babbage in London.")
DETAILED = Document(
    id="note-2",
    text="Prof. Łukasiewicz taught in Lwów and, from 1946, in Dublin.",
    labels={"person": "a named human being", "location": "a city, country or region"},
    threshold=0.5,
    policy=Policy.FLAT,
    metadata={"page": 7, "reviewed": False, "tags": ["logic", "history"], "note": None},
)
EVENT = EntityEvent(
    event_id="0d0be9a2-5e3c-5d83-9b6c-2f9f3ad1a7b4",
    document_id=PLAIN.id,
    source=Source(topic="documents", partition=2, offset=41),
    model=ModelInfo(name="padellm-small-en", version="1", template_hash="5dce9f14f9d44379"),
    labels=["person", "location"],
    entities=[
        Entity(text="Ada Lovelace", label="person", start=0, end=12, score=0.97, count_score=0.99),
        Entity(text="Charles Babbage", label="person", start=17, end=32, score=0.95, count_score=0.99),
        Entity(text="London", label="location", start=36, end=42, score=0.98, count_score=0.96),
    ],
    removed=[Removed(text="London", label="person", score=0.11, reason="other_label", start=36, end=42)],
    coverage=Coverage(windows=1, characters=len(PLAIN.text)),
    timings={"queue": 0.4, "count": 11.8, "mention": 17.1, "total": 29.6},
)
LONG_EVENT = EVENT.model_copy(
    update={
        "coverage": Coverage(
            windows=3, characters=2_400, unread=[(2_380, 2_400)], capped=[(0, 900, "person")]
        ),
        "metadata": DETAILED.metadata,
    }
)
ROW = rows_of(EVENT)[0]
(EMPTY_ROW,) = rows_of(EVENT.model_copy(update={"entities": []}))
SHADOW = ShadowDifference(
    event_id=EVENT.event_id,
    document_id=EVENT.document_id,
    source=EVENT.source,
    model=EVENT.model,
    shadow=EVENT.model.model_copy(update={"version": "2", "checkpoint": "5c" * 32}),
    missing=EVENT.entities[2:],
    added=[Entity(text="Babbage", label="person", start=25, end=32, score=0.71, count_score=0.9)],
)
DEAD_LETTER = DeadLetter(
    topic="documents",
    partition=0,
    offset=7,
    group="padellm",
    message=(
        "the value is not JSON: Expecting value at line 1, column 1; "
        'send one JSON object such as {"text": "..."}'
    ),
    stage=Stage.DECODE,
    reason=Reason.NOT_JSON,
)


RECORD = Record(
    topic="documents",
    partition=2,
    offset=41,
    timestamp=1_767_225_600.0,
    key=PLAIN.id.encode(),
    value=PLAIN.model_dump_json(exclude_defaults=True).encode(),
    headers=(("traceparent", TRACEPARENT.encode()),),
)
BAD_RECORD = Record(
    topic="documents",
    partition=0,
    offset=7,
    timestamp=1_767_225_600.0,
    value=PLAIN.text.encode(),
    headers=(("origin", b"notes"),),
)


@dataclass(frozen=True, slots=True)
class RecordExample:
    """One record with a summary, its headers and its value."""

    summary: str
    headers: dict[str, str]
    payload: object


def _text(headers: Headers) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in headers}


DOCUMENT_EXAMPLES = (
    RecordExample("Text alone: the model's default labels.", {}, json.loads(RECORD.value or b"")),
    RecordExample(
        "Labels with definitions, a threshold, a policy and metadata.",
        {"traceparent": TRACEPARENT},
        json.loads(DETAILED.model_dump_json()),
    ),
)
EVENT_EXAMPLE = RecordExample(
    "Three entities, and what de-duplication dropped.",
    _text(event_headers(EVENT, RECORD)),
    json.loads(EVENT.model_dump_json()),
)


def _row_example(summary: str, row: EntityRow) -> RecordExample:
    return RecordExample(summary, _text(row_headers(row, RECORD)), json.loads(row.model_dump_json()))


ROW_EXAMPLES = (
    _row_example("The first of three entities.", ROW),
    _row_example("A document without entities.", EMPTY_ROW),
)
SHADOW_EXAMPLE = RecordExample(
    "One entity that the second model does not find, and one that it finds beside.",
    {"content-type": "application/json"},
    json.loads(SHADOW.model_dump_json()),
)
DEAD_LETTER_EXAMPLE = RecordExample(
    "A value that is not JSON; the record's own header is kept.",
    _text(dead_letter_headers(DEAD_LETTER, BAD_RECORD, truncated=False)),
    PLAIN.text,
)
