"""Expected starts of the k-th of n answers."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.drafts.rates import ONLY, AnswerIndex, AnswerIndexer, SpanRates


@given(rates=st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=8), count=st.integers(1, 5), data=st.data())
def test_starts_of_weighs_all_ways_to_choose_so_many_starts(rates, count, data):
    """Every choice of n starts is weighted by the product of their rates; the k-th of each counts."""
    index = data.draw(st.integers(0, count - 1))
    found = SpanRates(np.array(rates), np.ones(len(rates) - 1)).starts_of(AnswerIndex(index, count))
    assert found.sum() == pytest.approx(1)
    evenly = np.array(rates) / sum(rates)
    expected = np.zeros(len(rates))
    for chosen in combinations(range(len(rates)), count):
        expected[chosen[index]] += np.prod([rates[at] for at in chosen])
    # With fewer tokens than answers, their order is unknown.
    expected = 0.95 * expected / expected.sum() + 0.05 * evenly if expected.any() else evenly
    assert found == pytest.approx(expected, rel=1e-6)


def test_answer_indexer_infers_index_and_count_from_the_prompts_last_tokens():
    """Prompts with one token for the count have as many answers as last tokens, in their order."""
    indexer = AnswerIndexer()
    assert indexer.of((30, 7)) == ONLY
    for tail in ((31, 7), (31, 9), (31, 8)):
        indexer.of(tail)
    assert [indexer.of((31, last)) for last in (7, 8, 9)] == [AnswerIndex(index, 3) for index in range(3)]
    assert indexer.of((30, 7)) == indexer.of(()) == ONLY


def test_answer_indexer_is_bounded():
    """Neither many counts nor many last tokens make it grow."""
    indexer = AnswerIndexer()
    for count in range(100):
        for last in range(100):
            assert indexer.of((count, last)).count <= 32
    assert len(indexer) <= 64
