"""Entities that lie within each other, cross, or share a place."""

from collections.abc import Sequence
from itertools import pairwise

from stream.corpora.document import AnnotatedDocument, GoldEntity


def first_overlap(entities: Sequence[GoldEntity]) -> tuple[GoldEntity, GoldEntity] | None:
    """Two entities with a character in common, the first such pair of the text; None when there is none."""
    ordered = sorted(entities, key=_place)
    return next(((left, right) for left, right in pairwise(ordered) if right.start < left.end), None)


def twice_marked(entities: Sequence[GoldEntity]) -> GoldEntity | None:
    """An entity that stands there twice, with the same place and label; None when there is none."""
    return next((entity for number, entity in enumerate(entities) if entity in entities[:number]), None)


def outermost(document: AnnotatedDocument) -> AnnotatedDocument:
    """The document without the entities that lie within a longer one.

    What crosses another entity stays, as does what has the same place under another label.
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
