"""Annotated documents: a text and its entities."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field


class GoldEntity(BaseModel):
    """An annotated entity; offsets in code points, ``end`` exclusive."""

    model_config = ConfigDict(frozen=True)

    start: int = Field(ge=0)
    end: int
    text: str = Field(min_length=1)
    label: str = Field(min_length=1)


class AnnotatedDocument(BaseModel):
    """A text with its entities; ``text[start:end]`` equals the text of each.

    Entities may lie within each other, cross, or share a place under several labels. ``labels`` names all
    that the text is annotated with, entities or not, where that is not the same for its whole set.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(default="", coerce_numbers_to_str=True)
    text: str = Field(min_length=1)
    entities: Annotated[tuple[GoldEntity, ...], FailFast()]
    labels: tuple[str, ...] | None = None


def label_inventory(documents: Iterable[AnnotatedDocument]) -> list[str]:
    """The labels that documents are annotated with, in the order of first use."""
    return list(dict.fromkeys(entity.label for document in documents for entity in document.entities))


def first_overlap(entities: Sequence[GoldEntity]) -> tuple[GoldEntity, GoldEntity] | None:
    """Two entities with a character in common, the first such pair of the text; None when there is none."""
    ordered = sorted(entities, key=_place)
    return next(((left, right) for left, right in pairwise(ordered) if right.start < left.end), None)


def twice_marked(entities: Sequence[GoldEntity]) -> GoldEntity | None:
    """The first entity that repeats another's place and label; None when there is none."""
    seen: set[tuple[int, int, str]] = set()
    for entity in entities:
        key = (entity.start, entity.end, entity.label)
        if key in seen:
            return entity
        seen.add(key)
    return None


def outermost(document: AnnotatedDocument) -> AnnotatedDocument:
    """The document without the entities that lie within a longer one.

    Entities that cross stay, as do those of one place under several labels.
    """
    kept: set[tuple[int, int]] = set()
    reached = 0
    for entity in sorted(document.entities, key=_place):
        if entity.end > reached:
            kept.add((entity.start, entity.end))
            reached = entity.end
    entities = tuple(entity for entity in document.entities if (entity.start, entity.end) in kept)
    return document.model_copy(update={"entities": entities})


def _place(entity: GoldEntity) -> tuple[int, int]:
    return entity.start, -entity.end
