"""Where the k-th of n answers is expected."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.drafts.rates import ONLY, Ordinal, Ordinals, Prospects


@given(rates=st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=8), count=st.integers(1, 5), data=st.data())
def test_starts_of_weighs_all_ways_to_choose_so_many_starts(rates, count, data):
    """Every choice of n tokens counts by the product of their rates; the k-th of each is where it begins."""
    place = data.draw(st.integers(0, count - 1))
    told = Prospects(np.array(rates), np.ones(len(rates) - 1)).starts_of(Ordinal(place, count))
    assert told.sum() == pytest.approx(1)
    evenly = np.array(rates) / sum(rates)
    expected = np.zeros(len(rates))
    for chosen in combinations(range(len(rates)), count):
        expected[chosen[place]] += np.prod([rates[at] for at in chosen])
    # Fewer tokens than answers: nothing is known of their order.
    expected = 0.95 * expected / expected.sum() + 0.05 * evenly if expected.any() else evenly
    assert told == pytest.approx(expected, rel=1e-6)


def test_ordinals_learn_how_many_answers_and_which_from_the_prompts_last_tokens():
    """Of those that end in the same count, as many are asked for as there are last tokens, in their order."""
    ordinals = Ordinals()
    assert ordinals.of((30, 7)) == ONLY
    for tail in ((31, 7), (31, 9), (31, 8)):
        ordinals.of(tail)
    assert [ordinals.of((31, last)) for last in (7, 8, 9)] == [Ordinal(place, 3) for place in range(3)]
    assert ordinals.of((30, 7)) == ordinals.of(()) == ONLY


def test_ordinals_are_bounded():
    """Neither many counts nor many last tokens make it grow."""
    ordinals = Ordinals()
    for count in range(100):
        for last in range(100):
            assert ordinals.of((count, last)).of <= 32
    assert len(ordinals) <= 64
