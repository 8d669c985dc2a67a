"""Entities by kind of match, and a system's worst answers."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from stream.contract.messages import Entity, Policy
from stream.corpora.document import AnnotatedDocument, GoldEntity
from stream.evaluation.alignment import align
from stream.evaluation.runner import Answer
from stream.ner.calibration import Calibration


class MatchKind(StrEnum):
    """Comparison of an entity with the other side's, predicted or gold."""

    RIGHT = "right"
    BOUNDARY = "boundary"
    LABEL = "label"
    BOTH = "label and boundary"
    INVENTED = "invented"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Mark:
    """An entity to show in a text.

    Attributes:
        start: First code point.
        end: One past the last.
        text: The entity's.
        label: As the documents name it.
        kind: How it compares with the other side.
        score: None where it is annotated.
    """

    start: int
    end: int
    text: str
    label: str
    kind: MatchKind
    score: float | None = None


@dataclass(frozen=True, slots=True)
class MarkedDocument:
    """One document with both sides' entities."""

    document: AnnotatedDocument
    gold: tuple[Mark, ...]
    predicted: tuple[Mark, ...]

    @property
    def badness(self) -> float:
        """Sum of the scores of wrong predictions, and one for every missed entity."""
        wrong = sum(mark.score or 0.0 for mark in self.predicted if mark.kind is not MatchKind.RIGHT)
        return wrong + sum(mark.kind is MatchKind.MISSED for mark in self.gold)

    @property
    def surest_mistake(self) -> float:
        """The highest score of a wrong prediction; 0 without one."""
        return max(
            (mark.score or 0.0 for mark in self.predicted if mark.kind is not MatchKind.RIGHT), default=0.0
        )


def mark(
    answers: Iterable[Answer], labels: Sequence[str], policy: Policy, calibration: Calibration | None = None
) -> list[MarkedDocument]:
    """Mark the entities of every answer; entities under other labels are left out."""
    return [
        _marked(answer.document, answer.settle(policy, calibration).entities, labels) for answer in answers
    ]


def kinds(marked: Iterable[MarkedDocument]) -> Counter[MatchKind]:
    """Number of predicted entities by kind, and of missed gold ones."""
    found: Counter[MatchKind] = Counter()
    for document in marked:
        found.update(mark.kind for mark in document.predicted)
        found[MatchKind.MISSED] += sum(mark.kind is MatchKind.MISSED for mark in document.gold)
    return found


def worst(marked: Iterable[MarkedDocument], most: int) -> list[MarkedDocument]:
    """The documents with the most mistakes, the worst first."""
    return sorted((each for each in marked if each.badness), key=lambda each: -each.badness)[:most]


def surest(marked: Iterable[MarkedDocument], most: int) -> list[MarkedDocument]:
    """The documents whose mistakes have the highest scores, the highest first."""
    wrong = (each for each in marked if each.surest_mistake)
    return sorted(wrong, key=lambda each: -each.surest_mistake)[:most]


def _marked(document: AnnotatedDocument, entities: Sequence[Entity], labels: Sequence[str]) -> MarkedDocument:
    ours = [entity for entity in entities if entity.label in labels]
    theirs = [entity for entity in document.entities if entity.label in labels]
    aligned = align(ours, theirs)
    predicted_places, gold_places = _TakenPlaces(ours), _TakenPlaces(theirs)
    right = [entity for entity, _ in aligned.exact]
    shifted = [entity for entity, _ in aligned.overlapping]
    predicted = [
        *((entity, MatchKind.RIGHT) for entity in right),
        *((entity, MatchKind.BOUNDARY) for entity in shifted),
        *((entity, gold_places.kind(entity, MatchKind.INVENTED)) for entity in aligned.wrong),
    ]
    gold = [
        *((entity, MatchKind.RIGHT) for _, entity in aligned.exact),
        *((entity, MatchKind.BOUNDARY) for _, entity in aligned.overlapping),
        *((entity, predicted_places.kind(entity, MatchKind.MISSED)) for entity in aligned.missed),
    ]
    return MarkedDocument(
        document,
        tuple(Mark(e.start, e.end, e.text, e.label, kind) for e, kind in sorted(gold, key=_place)),
        tuple(
            Mark(e.start, e.end, e.text, e.label, kind, e.score) for e, kind in sorted(predicted, key=_place)
        ),
    )


def _place(marked: tuple[Entity | GoldEntity, MatchKind]) -> tuple[int, int]:
    entity, _ = marked
    return entity.start, entity.end


class _TakenPlaces:
    """Places of one side's entities; a look-up costs the logarithm of their number."""

    def __init__(self, entities: Sequence[Entity | GoldEntity]) -> None:
        ordered = sorted((entity.start, entity.end) for entity in entities)
        self._spans = set(ordered)
        self._starts = [start for start, _ in ordered]
        self._ends = list(accumulate((end for _, end in ordered), max))

    def kind(self, one: Entity | GoldEntity, alone: MatchKind) -> MatchKind:
        """The kind of an entity of the other side that has no partner of its label."""
        if (one.start, one.end) in self._spans:
            return MatchKind.LABEL
        before = bisect_left(self._starts, one.end)
        return MatchKind.BOTH if before and self._ends[before - 1] > one.start else alone
