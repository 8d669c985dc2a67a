"""Reliability of scores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.evaluation.reliability import Judged, Reliability

judged = st.lists(st.builds(Judged, st.just("PER"), st.floats(0, 1), st.booleans()), max_size=40)


def test_reliability_of_known_scores():
    """Two bins worked by hand: 0.9 of which half is right, and 0.1 of which none is."""
    seen = [Judged("PER", 0.9, right) for right in (True, False)] + [Judged("LOC", 0.1, False)] * 2
    found = Reliability.of(seen)
    assert [(each.entities, each.score, each.right) for each in found.bins] == [(2, 0.1, 0.0), (2, 0.9, 0.5)]
    assert found.error == pytest.approx((2 * 0.1 + 2 * 0.4) / 4)
    assert found.brier == pytest.approx((0.01 + 0.01 + 0.01 + 0.81) / 4)


def test_reliability_of_nothing_is_no_error():
    """Without entities there is nothing to be wrong about."""
    assert (Reliability.of([]).error, Reliability.of([]).brier, Reliability.of([]).entities) == (0, 0, 0)


@given(judged)
def test_reliability_holds_every_entity_in_the_bin_of_its_score(seen):
    """Scores of 0 and 1 included; the error lies between nothing and 1."""
    found = Reliability.of(seen)
    assert found.entities == len(seen)
    for each in found.bins:
        inside = [one for one in seen if each.low <= one.score < each.high or one.score == each.high == 1]
        assert abs(len(inside) - each.entities) <= sum(one.score in {each.low, each.high} for one in seen)
        assert each.low - 1e-9 <= each.score <= each.high + 1e-9
    assert 0 <= found.error <= 1
