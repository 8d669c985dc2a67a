"""The messages of the topics.

``schemas/`` holds the same contract as JSON Schema, Avro and AsyncAPI; a test proves them equal.
All offsets are in Unicode code points unless the document asks for another unit; start inclusive, end
exclusive.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from stream.contract.reasons import RemovalReason, Stage
from stream.offsets import OffsetUnit

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Policy(StrEnum):
    """Rule of de-duplication between entities that compete.

    ``paper``: a mention text found under several labels keeps the label with the highest score (PaDeLLM-NER,
    section 3.3).
    ``flat``: no two entities overlap. ``nested``: entities may contain each other, one label a span.
    ``multi``: everything is kept, but for exact repeats.
    """

    PAPER = "paper"
    FLAT = "flat"
    NESTED = "nested"
    MULTI = "multi"


class Message(BaseModel):
    """Base of all messages: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Published(BaseModel):
    """Base of what the service publishes: immutable, and readers let fields pass that later versions add."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Document(Message):
    """A text to find entities in. Record key: the document id."""

    id: str = Field(
        default="",
        description="Document id. Empty or absent: the record key, or else topic/partition/offset.",
    )
    text: str = Field(
        min_length=1, description="The text, any language, any length up to the service's limit."
    )
    labels: list[str] | dict[str, str] | None = Field(
        default=None,
        description=(
            "Entity types to look for: names, or name to definition. Absent: the model's default labels."
        ),
    )
    threshold: Probability | None = Field(default=None, description="Entities scored below it are removed.")
    policy: Policy | None = Field(default=None, description="De-duplication policy.")
    offsets: OffsetUnit | None = Field(
        default=None, description="Unit of the event's offsets. Absent: PADELLM_OFFSETS."
    )
    metadata: dict[str, JsonValue] = Field(
        default_factory=dict, description="Returned untouched in the event, white space between values apart."
    )


def _is_none(value: object) -> bool:
    return value is None


# Absent where a document is one text, so that such events are those of earlier versions.
TextField = Annotated[
    str | None,
    Field(
        exclude_if=_is_none,
        description="JSON Pointer of the text field that the offsets are of; absent where there is one text.",
    ),
]


class Entity(Published):
    """One entity; ``document.text[start:end] == text`` always, in the event's unit of offsets."""

    text: str = Field(min_length=1)
    label: str = Field(description="The label as the document named it.")
    start: int = Field(ge=0, description="First code point, or unit of the event's offsets.")
    end: int = Field(ge=1, description="One past the last.")
    score: Probability = Field(
        description=(
            "Probability that the entity is right, where the model is calibrated; else the product of its "
            "token probabilities, end token excluded."
        )
    )
    count_score: Probability = Field(description="Probability of the count that asked for this mention.")
    field: TextField = None


class Removed(Published):
    """A decoded mention that is not among the entities, and the reason."""

    text: str
    label: str
    score: Probability
    reason: str = Field(description=f"Stable code: {', '.join(RemovalReason)}.")
    start: int | None = Field(default=None, ge=0)
    end: int | None = Field(default=None, ge=0)
    field: TextField = None


class Coverage(Published):
    """Extent of the text that the model has read; of several text fields the sum, and the ranges of all."""

    windows: int = Field(ge=0, description="Windows the text was read in.")
    characters: int = Field(ge=0, description="Code points in the text, or units of the event's offsets.")
    unread: list[tuple[int, int]] = Field(
        default_factory=list, description="Character ranges no window covers."
    )
    capped: list[tuple[int, int, str]] = Field(
        default_factory=list,
        description=(
            "Windows (start, end, label) whose count reached the model's limit, "
            "so that mentions may be missing."
        ),
    )


class Source(Published):
    """Position of the document in Kafka."""

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class ModelInfo(Published):
    """The model that decoded the entities."""

    name: str
    version: str
    template_hash: str = Field(description="First 16 hex digits of the SHA-256 over the prompt template.")
    checkpoint: str | None = Field(
        default=None,
        exclude_if=_is_none,
        description="SHA-256 of the checkpoint, as the model server states it; absent where it does not.",
    )


class EntityEvent(Published):
    """All entities of one document, also when there are none. Record key: the document id."""

    event_id: str = Field(
        description="Deterministic: the same document position, model, labels and settings give the same id."
    )
    document_id: str
    source: Source
    model: ModelInfo
    labels: list[str]
    entities: list[Entity]
    removed: list[Removed]
    coverage: Coverage
    timings: dict[str, float] = Field(description="Milliseconds by stage: queue, count, mention, total.")
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    offsets: OffsetUnit | None = Field(
        default=None, exclude_if=_is_none, description="Unit of all offsets; absent: code points."
    )
    fields: dict[str, Coverage] | None = Field(
        default=None,
        exclude_if=_is_none,
        description="Coverage of each text field, by its JSON Pointer; absent where there is one text.",
    )


class EntityRow(Published):
    """One entity of a document as a flat record, for tables and connectors. Record key: the document id.

    A document has a row for each of its entities, or one row without an entity where it has none; so a
    reader that has ``max(1, entity_count)`` rows of an ``event_id`` has all of the document.
    """

    entity_id: str = Field(description="event_id/number: the same on every repeat, and unlike any other.")
    event_id: str = Field(description="Of the document's entity event.")
    document_id: str
    number: int = Field(
        ge=0, description="Place among the entities of the event, from 1 on; 0 in a row without an entity."
    )
    entity_count: int = Field(ge=0, description="Entities of the document.")
    text: str | None = Field(description="Null in a row without an entity, as all of the entity is.")
    label: str | None
    start: int | None = Field(ge=0, description="First unit of the entity, counted as offsets says.")
    end: int | None = Field(ge=1, description="One past the last.")
    score: Probability | None = Field(description="As in the event.")
    count_score: Probability | None = Field(description="As in the event.")
    field: str | None = Field(description="JSON Pointer of the text field; null where there is one text.")
    offsets: OffsetUnit = Field(description="Unit of start and end.")
    source_topic: str = Field(description="Topic of the document.")
    source_partition: int = Field(ge=0)
    source_offset: int = Field(ge=0)
    model_name: str
    model_version: str
    metadata: dict[str, JsonValue] = Field(default_factory=dict, description="As in the event.")


class ShadowDifference(Published):
    """Entities that a second model finds otherwise in a document. Record key: the document id.

    There is none where both find the same. Scores are not compared.
    """

    event_id: str = Field(description="Of the document's entity event.")
    document_id: str
    source: Source
    model: ModelInfo = Field(description="The model that made the event.")
    shadow: ModelInfo = Field(description="The second model.")
    missing: list[Entity] = Field(description="Entities of the event that the second model does not find.")
    added: list[Entity] = Field(description="Entities that the second model finds beside them.")


class DeadLetter(Message):
    """Reason why a record could not become an event.

    It is in the headers, beside the record's original key, value and headers.
    """

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    group: str
    message: str = Field(description="For a person: what was wrong and what to do.")
    stage: Stage
    reason: str = Field(description="Stable code, for example not_json, text_too_long, inference_timeout.")
    attempts: int = Field(default=1, ge=1, description="Times that the stage was tried.")
