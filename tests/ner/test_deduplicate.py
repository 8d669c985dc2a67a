"""What each policy keeps."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.messages import Entity, Policy
from stream.ner.deduplicate import deduplicate

TEXT = "abcdefghijkl"


def entity(start, end, label="PER", score=0.5):
    """A candidate entity."""
    return Entity(text=TEXT[start:end], label=label, start=start, end=end, score=score, count_score=1.0)


@st.composite
def candidates(draw, most=8):
    """Competing entities, many of them equal in span, label or score."""
    spans = st.tuples(st.integers(0, 11), st.integers(1, 12)).filter(lambda span: span[0] < span[1])
    scores = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
    return [
        entity(*draw(spans), label=draw(st.sampled_from(["PER", "LOC", "ORG"])), score=draw(scores))
        for _ in range(draw(st.integers(0, most)))
    ]


def key(one):
    """What tells entities and removed mentions apart."""
    return (one.start, one.end, one.label, one.score)


def crossing(one, other):
    """Whether one begins first and ends inside the other."""
    return one.start < other.start < one.end < other.end


@given(candidates(), st.sampled_from(Policy), st.sampled_from([0.0, 0.3]))
def test_deduplicate_loses_nothing_unreported(entities, policy, threshold):
    """Every candidate is among the entities or among the removed, never both, never twice."""
    result = deduplicate(entities, policy, threshold=threshold)
    assert sorted(map(key, [*result.entities, *result.removed])) == sorted(map(key, entities))
    assert all(one.reason for one in result.removed)


@given(candidates(), st.sampled_from(Policy))
def test_deduplicate_twice_changes_nothing(entities, policy):
    """What was kept is kept again."""
    kept = deduplicate(entities, policy).entities
    assert deduplicate(kept, policy).entities == kept


@given(candidates(), st.sampled_from(Policy))
def test_deduplicate_orders_by_position(entities, policy):
    """Entities come in the order of the text, and no span and label twice."""
    kept = deduplicate(entities, policy).entities
    assert [(one.start, one.end) for one in kept] == sorted((one.start, one.end) for one in kept)
    assert len({(one.start, one.end, one.label) for one in kept}) == len(kept)


@given(candidates())
def test_deduplicate_paper_keeps_the_best_label_of_a_text(entities):
    """No text has two labels left, and the label left had the text's highest score."""
    for one in deduplicate(entities, Policy.PAPER).entities:
        rivals = [other for other in entities if other.text == one.text]
        best = max(rivals, key=lambda other: other.score)
        assert best.score == max(other.score for other in rivals if other.label == one.label)


@given(candidates())
def test_deduplicate_flat_is_the_best_selection_without_overlap(entities):
    """No two overlap, and no other selection has more score-weighted characters (tried exhaustively)."""

    def weight(selection):
        return sum(one.score * (one.end - one.start) for one in selection)

    def compatible(selection):
        return all(a.end <= b.start or b.end <= a.start for a, b in combinations(selection, 2))

    kept = deduplicate(entities, Policy.FLAT).entities
    assert compatible(kept)
    every = (subset for size in range(len(entities) + 1) for subset in combinations(entities, size))
    assert weight(kept) == pytest.approx(max(weight(subset) for subset in every if compatible(subset)))


@given(candidates(most=14))
def test_deduplicate_nested_neither_crosses_nor_doubles(entities):
    """No two kept entities cross or share a span, and what was dropped would with a better one."""
    result = deduplicate(entities, Policy.NESTED)
    assert not any(crossing(a, b) or crossing(b, a) for a, b in combinations(result.entities, 2))
    assert len({(one.start, one.end) for one in result.entities}) == len(result.entities)
    for one in result.removed:
        assert any(
            (crossing(one, other) or crossing(other, one) or (one.start, one.end) == (other.start, other.end))
            and other.score >= one.score
            for other in result.entities
        )


@given(candidates())
def test_deduplicate_multi_drops_repeats_alone(entities):
    """Every span and label stays once, with its best score."""
    kept = deduplicate(entities, Policy.MULTI).entities
    best = {}
    for one in entities:
        best[one.start, one.end, one.label] = max(best.get((one.start, one.end, one.label), 0), one.score)
    assert {(one.start, one.end, one.label): one.score for one in kept} == best


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (Policy.PAPER, {("abcd", "PER"), ("ab", "ORG"), ("bcdef", "LOC")}),
        (Policy.FLAT, {("abcd", "PER")}),
        (Policy.NESTED, {("abcd", "PER"), ("ab", "ORG")}),
        (Policy.MULTI, {("abcd", "PER"), ("ab", "ORG"), ("ab", "PER"), ("bcdef", "LOC")}),
    ],
)
def test_deduplicate_policies_differ_as_documented(policy, kept):
    """One example through all policies."""
    entities = [
        entity(0, 4, "PER", 0.9),
        entity(0, 2, "ORG", 0.8),
        entity(0, 2, "PER", 0.7),
        entity(1, 6, "LOC", 0.6),
    ]
    assert {(one.text, one.label) for one in deduplicate(entities, policy).entities} == kept


def test_deduplicate_flat_prefers_the_longer_name():
    """A whole name beats its part although the part scores higher."""
    result = deduplicate([entity(0, 4, score=0.95), entity(0, 8, score=0.9)], Policy.FLAT)
    assert [(one.start, one.end) for one in result.entities] == [(0, 8)]
    assert [one.reason for one in result.removed] == ["overlap"]


def test_deduplicate_threshold_comes_first():
    """What is below the threshold displaces nothing and is reported so."""
    result = deduplicate([entity(0, 12, score=0.2), entity(0, 4, score=0.6)], Policy.FLAT, threshold=0.5)
    assert [one.end for one in result.entities] == [4]
    assert [one.reason for one in result.removed] == ["below_threshold"]


def test_deduplicate_reports_reasons():
    """A repeat is a duplicate, a lost label is other_label."""
    result = deduplicate(
        [entity(0, 4, "PER", 0.9), entity(0, 4, "PER", 0.8), entity(0, 4, "LOC", 0.3)], Policy.PAPER
    )
    assert {(one.label, one.score, one.reason) for one in result.removed} == {
        ("PER", 0.8, "duplicate"),
        ("LOC", 0.3, "other_label"),
    }
