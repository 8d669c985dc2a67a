"""Predicted entities set against the gold ones by their places in the text."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stream.contract.messages import Entity
from stream.corpora.document import GoldEntity
from stream.evaluation.scores import Score

Place = tuple[int, int, str]
"""Start, end and label."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """One document's entities in pairs, each entity in one pair at most; a pair has one label.

    Attributes:
        exact: Pairs at the same place.
        overlapping: Pairs that share a character.
        wrong: Predicted, and in no pair.
        missed: Gold, and in no pair.
    """

    exact: list[tuple[Entity, GoldEntity]] = field(default_factory=list)
    overlapping: list[tuple[Entity, GoldEntity]] = field(default_factory=list)
    wrong: list[Entity] = field(default_factory=list)
    missed: list[GoldEntity] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Matches:
    """How many entities matched, and how well; adds up over documents (MUC-5's and SemEval-2013's counts).

    Attributes:
        exact: Predicted at the place of a gold entity of their label.
        overlapping: Predicted elsewhere, but sharing a character with one of their label.
        predicted: All that were predicted.
        gold: All that are annotated.
    """

    exact: int = 0
    overlapping: int = 0
    predicted: int = 0
    gold: int = 0

    def __add__(self, other: "Matches") -> "Matches":
        return Matches(
            self.exact + other.exact,
            self.overlapping + other.overlapping,
            self.predicted + other.predicted,
            self.gold + other.gold,
        )

    @property
    def strict(self) -> Score:
        """Label, start and end must be right."""
        return self._score(self.exact)

    @property
    def partial(self) -> Score:
        """An overlap counts half."""
        return self._score(self.exact + self.overlapping / 2)

    @property
    def type(self) -> Score:
        """An overlap counts in full: the label is right, and the place about."""
        return self._score(self.exact + self.overlapping)

    def _score(self, right: float) -> Score:
        return Score(right, self.predicted - right, self.gold - right)


def align(predicted: Sequence[Entity], gold: Sequence[GoldEntity]) -> Alignment:
    """Pair what has one place and label; then, of the rest, as many as overlap under one label.

    Repeats of a place and label count once.
    """
    ours = {(entity.start, entity.end, entity.label): entity for entity in predicted}
    theirs = {(entity.start, entity.end, entity.label): entity for entity in gold}
    same = ours.keys() & theirs.keys()
    pairs = _most_pairs(sorted(ours.keys() - same), sorted(theirs.keys() - same))
    paired = set(pairs.values())
    return Alignment(
        exact=[(entity, theirs[place]) for place, entity in ours.items() if place in same],
        overlapping=[(ours[mine], theirs[other]) for other, mine in pairs.items()],
        wrong=[entity for place, entity in ours.items() if place not in same and place not in paired],
        missed=[entity for place, entity in theirs.items() if place not in same and place not in pairs],
    )


def matches(alignment: Alignment, labels: Sequence[str]) -> dict[str, Matches]:
    """An alignment counted, label by label; other labels are left out."""
    exact, overlapping, wrong, missed = (defaultdict[str, int](int) for _ in range(4))
    for count, entities in (
        (exact, [entity for entity, _ in alignment.exact]),
        (overlapping, [entity for entity, _ in alignment.overlapping]),
        (wrong, alignment.wrong),
        (missed, alignment.missed),
    ):
        for entity in entities:
            count[entity.label] += 1
    return {
        label: Matches(
            exact[label],
            overlapping[label],
            exact[label] + overlapping[label] + wrong[label],
            exact[label] + overlapping[label] + missed[label],
        )
        for label in labels
    }


def _most_pairs(ours: Sequence[Place], theirs: Sequence[Place]) -> dict[Place, Place]:
    """Gold places to predicted ones, as many pairs as there can be (Kuhn's augmenting paths)."""
    pairs: dict[Place, Place] = {}

    def find(mine: Place, seen: set[Place]) -> bool:
        for other in _overlapping(mine, theirs):
            if other not in seen:
                seen.add(other)
                if other not in pairs or find(pairs[other], seen):
                    pairs[other] = mine
                    return True
        return False

    for mine in ours:
        find(mine, set())
    return pairs


def _overlapping(mine: Place, theirs: Sequence[Place]) -> Iterator[Place]:
    start, end, label = mine
    return (other for other in theirs if other[2] == label and other[0] < end and start < other[1])
