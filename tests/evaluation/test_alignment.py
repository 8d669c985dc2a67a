"""Predicted entities set against gold ones by their places."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from nervaluate import Evaluator

from stream.contract.messages import Entity
from stream.corpora.document import GoldEntity
from stream.evaluation.alignment import Matches, align, matches

TEXT = "abcdefghijkl"
places = st.tuples(st.integers(0, 11), st.integers(1, 12), st.sampled_from(["PER", "LOC"])).filter(
    lambda place: place[0] < place[1]
)
both = st.tuples(st.lists(places, max_size=6), st.lists(places, max_size=6))


def predicted(*where):
    """Predicted entities at places."""
    return [
        Entity(text=TEXT[start:end], label=label, start=start, end=end, score=0.5, count_score=1)
        for start, end, label in where
    ]


def gold(*where):
    """Gold entities at places."""
    return [
        GoldEntity(text=TEXT[start:end], label=label, start=start, end=end) for start, end, label in where
    ]


def counted(ours, theirs):
    """Matches of both labels together."""
    found = matches(align(predicted(*ours), gold(*theirs)), ["PER", "LOC"])
    return sum(found.values(), Matches())


def test_alignment_of_a_known_document():
    """The same place, an overlap, another label, one too many and one too few, worked by hand."""
    ours = [(0, 2, "PER"), (3, 6, "PER"), (7, 8, "LOC"), (9, 10, "PER")]
    theirs = [(0, 2, "PER"), (4, 6, "PER"), (7, 8, "PER"), (11, 12, "LOC")]
    found = counted(ours, theirs)
    assert found == Matches(exact=1, overlapping=1, predicted=4, gold=4)
    assert [score.f1 for score in (found.strict, found.partial, found.type)] == [0.25, 0.375, 0.5]
    assert found.partial.precision == 1.5 / 4


def test_alignment_counts_labels_apart():
    """Entities of one label are no credit for another, and unasked labels are left out."""
    alignment = align(predicted((0, 2, "PER"), (3, 4, "LOC")), gold((0, 2, "PER"), (3, 4, "PER")))
    assert matches(alignment, ["PER", "LOC"]) == {
        "PER": Matches(exact=1, predicted=1, gold=2),
        "LOC": Matches(predicted=1),
    }
    assert matches(alignment, ["LOC"]) == {"LOC": Matches(predicted=1)}


def test_alignment_pairs_as_many_overlaps_as_there_can_be():
    """A wide entity that overlaps two goes to the one that no other can have."""
    found = align(predicted((0, 6, "PER"), (4, 7, "PER")), gold((0, 2, "PER"), (5, 6, "PER")))
    assert {(mine.start, other.start) for mine, other in found.overlapping} == {(0, 0), (4, 5)}
    assert (found.wrong, found.missed) == ([], [])


@given(both)
def test_alignment_is_as_large_as_the_largest_found_by_trying(sides):
    """Same places are paired, and of the rest as many overlaps as the best of all selections has."""
    ours, theirs = set(sides[0]), set(sides[1])
    found = align(predicted(*sides[0]), gold(*sides[1]))
    assert {(e.start, e.end, e.label) for e, _ in found.exact} == ours & theirs
    edges = [
        (mine, other)
        for mine in ours - theirs
        for other in theirs - ours
        if mine[2] == other[2] and mine[0] < other[1] and other[0] < mine[1]
    ]
    assert len(found.overlapping) == _largest(edges)
    assert len(found.exact) + len(found.overlapping) + len(found.wrong) == len(ours)
    assert len(found.exact) + len(found.overlapping) + len(found.missed) == len(theirs)


def _largest(edges):
    """Size of the largest selection of edges without a common end, by trying all, the large ones first."""
    for size in range(min(len(edges), 6), 0, -1):
        for chosen in combinations(edges, size):
            if len({mine for mine, _ in chosen}) == len({other for _, other in chosen}) == size:
                return size
    return 0


@given(both)
def test_alignment_scores_are_ordered_and_symmetric(sides):
    """Exact is at most partial, partial at most type; whose entities are called gold swaps the two shares."""
    found, swapped = counted(*sides), counted(*reversed(sides))
    assert 0 <= found.strict.f1 <= found.partial.f1 <= found.type.f1 <= 1
    assert (found.partial.precision, found.partial.recall) == (
        swapped.partial.recall,
        swapped.partial.precision,
    )


def apart(where):
    """Places that share no character, whatever their labels."""
    kept = []
    for start, end, label in sorted(where):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end, label))
    return kept


@given(both)
def test_alignment_counts_as_nervaluate_does(sides):
    """Label by label, exact and overlapping pairs are as many as nervaluate's correct and partial ones.

    The definitions differ where entities of one side overlap each other, so such places are left out here.
    There nervaluate pairs whatever it meets first, and ours are as many pairs as there can be; it also counts
    repeats of a place, and ours count once. Its ends are inclusive.
    """
    ours, theirs = (apart(side) for side in sides)
    for label, found in matches(align(predicted(*ours), gold(*theirs)), ["PER", "LOC"]).items():
        expected = oracle(*([place for place in side if place[2] == label] for side in (ours, theirs)))
        assert (found.exact, found.overlapping) == (expected.correct, expected.partial)
        assert (found.predicted, found.gold) == (expected.actual, expected.possible)


def oracle(ours, theirs):
    """The counts of nervaluate's partial strategy for places of one label."""
    true, pred = ([{"start": s, "end": e - 1, "label": "X"} for s, e, _ in side] for side in (theirs, ours))
    return Evaluator([true], [pred], tags=["X"], loader="dict").evaluate()["overall"]["partial"]
