"""Predicted entities paired with gold ones by their places in the text."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from stream.contract.messages import Entity
from stream.corpora.document import GoldEntity
from stream.evaluation.scores import Score

_Place = tuple[int, int, str]  # start, end and label


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
    """Counts of matched entities, which add up over documents (those of MUC-5 and SemEval-2013).

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
    """Pair entities of one place and label; then, of the rest, as many as overlap under one label.

    Repeats of a place and label count once.
    """
    ours = {(entity.start, entity.end, entity.label): entity for entity in predicted}
    theirs = {(entity.start, entity.end, entity.label): entity for entity in gold}
    same = ours.keys() & theirs.keys()
    pairs = dict(_most_pairs(ours.keys() - same, theirs.keys() - same))
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


def _most_pairs(ours: Iterable[_Place], theirs: Iterable[_Place]) -> Iterator[tuple[_Place, _Place]]:
    """Pairs of a gold and a predicted place that overlap under one label, as many as there can be.

    The place that ends first goes with the place of the other side that ends first of those it overlaps. That
    one overlaps no place that another candidate would not overlap too, so no pair is lost.
    """
    sides: dict[str, tuple[list[_Place], list[_Place]]] = defaultdict(lambda: ([], []))
    for side, places in enumerate((theirs, ours)):
        for place in places:
            sides[place[2]][side].append(place)
    for both in sides.values():
        yield from _pairs_of_label(*both)


def _pairs_of_label(theirs: list[_Place], ours: list[_Place]) -> Iterator[tuple[_Place, _Place]]:
    by_start = [deque(sorted(places)) for places in (theirs, ours)]
    # Places that have begun, by their ends.
    begun: tuple[list[tuple[int, _Place]], list[tuple[int, _Place]]] = ([], [])
    done: set[tuple[int, _Place]] = set()
    order = sorted((place[1], side, place) for side, places in enumerate((theirs, ours)) for place in places)
    for end, side, place in order:
        if (side, place) in done:
            continue
        done.add((side, place))
        other = 1 - side
        while by_start[other] and by_start[other][0][0] < end:
            candidate = by_start[other].popleft()
            heappush(begun[other], (candidate[1], candidate))
        while begun[other]:
            partner = heappop(begun[other])[1]
            if (other, partner) not in done:
                done.add((other, partner))
                yield (place, partner) if side == 0 else (partner, place)
                break
