"""Where a system was wrong, kind by kind, and its worst answers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from stream.contract.messages import Entity, Policy
from stream.corpora.document import AnnotatedDocument, GoldEntity
from stream.evaluation.alignment import align
from stream.evaluation.runner import Answer
from stream.ner.calibration import Calibration


class Kind(StrEnum):
    """What an entity is, held against the other side."""

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
        kind: What it is.
        score: None where it is annotated.
    """

    start: int
    end: int
    text: str
    label: str
    kind: Kind
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    """One document with both sides' entities."""

    document: AnnotatedDocument
    gold: tuple[Mark, ...]
    predicted: tuple[Mark, ...]

    @property
    def badness(self) -> float:
        """Scores of the predicted that are wrong, and one for every entity that was missed altogether."""
        wrong = sum(mark.score or 0.0 for mark in self.predicted if mark.kind is not Kind.RIGHT)
        return wrong + sum(mark.kind is Kind.MISSED for mark in self.gold)

    @property
    def surest_mistake(self) -> float:
        """The highest score of a predicted entity that is wrong; 0 where none is."""
        return max((mark.score or 0.0 for mark in self.predicted if mark.kind is not Kind.RIGHT), default=0.0)


def mark(
    answers: Iterable[Answer], labels: Sequence[str], policy: Policy, calibration: Calibration | None = None
) -> list[Marked]:
    """Every answer with its entities marked; entities under other labels are left out."""
    return [
        _marked(answer.document, answer.settle(policy, calibration).entities, labels) for answer in answers
    ]


def kinds(marked: Iterable[Marked]) -> Counter[Kind]:
    """How many entities are of each kind: predicted ones, and gold ones that were missed altogether."""
    found: Counter[Kind] = Counter()
    for document in marked:
        found.update(mark.kind for mark in document.predicted)
        found[Kind.MISSED] += sum(mark.kind is Kind.MISSED for mark in document.gold)
    return found


def worst(marked: Iterable[Marked], most: int) -> list[Marked]:
    """The documents with most that is wrong, the worst first."""
    return sorted((each for each in marked if each.badness), key=lambda each: -each.badness)[:most]


def surest(marked: Iterable[Marked], most: int) -> list[Marked]:
    """The documents with a mistake that had the highest scores, the highest first."""
    wrong = (each for each in marked if each.surest_mistake)
    return sorted(wrong, key=lambda each: -each.surest_mistake)[:most]


def _marked(document: AnnotatedDocument, entities: Sequence[Entity], labels: Sequence[str]) -> Marked:
    ours = [entity for entity in entities if entity.label in labels]
    theirs = [entity for entity in document.entities if entity.label in labels]
    aligned = align(ours, theirs)
    right = [entity for entity, _ in aligned.exact]
    shifted = [entity for entity, _ in aligned.overlapping]
    predicted = [
        *((entity, Kind.RIGHT) for entity in right),
        *((entity, Kind.BOUNDARY) for entity in shifted),
        *((entity, _kind(entity, theirs, Kind.INVENTED)) for entity in aligned.wrong),
    ]
    gold = [
        *((entity, Kind.RIGHT) for _, entity in aligned.exact),
        *((entity, Kind.BOUNDARY) for _, entity in aligned.overlapping),
        *((entity, _kind(entity, ours, Kind.MISSED)) for entity in aligned.missed),
    ]
    return Marked(
        document,
        tuple(Mark(e.start, e.end, e.text, e.label, kind) for e, kind in sorted(gold, key=_place)),
        tuple(
            Mark(e.start, e.end, e.text, e.label, kind, e.score) for e, kind in sorted(predicted, key=_place)
        ),
    )


def _place(marked: tuple[Entity | GoldEntity, Kind]) -> tuple[int, int]:
    entity, _ = marked
    return entity.start, entity.end


def _kind(one: Entity | GoldEntity, others: Sequence[Entity | GoldEntity], alone: Kind) -> Kind:
    """What an entity without a partner of its label is, by what the other side has there."""
    if any((one.start, one.end) == (other.start, other.end) for other in others):
        return Kind.LABEL
    overlaps = any(one.start < other.end and other.start < one.end for other in others)
    return Kind.BOTH if overlaps else alone
