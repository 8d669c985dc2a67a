"""Counts that add up and are divided last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.evaluation.scores import Accuracy, Score

small_sets = st.sets(st.integers(0, 6))


def test_scores_of_known_sets():
    """Precision, recall and F1 of a case worked by hand."""
    score = Score.of({"a", "b", "c"}, {"b", "c", "d", "e"})
    assert (score.tp, score.fp, score.fn) == (2, 1, 2)
    assert (score.precision, score.recall) == (2 / 3, 2 / 4)
    assert score.f1 == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))


def test_scores_of_nothing_are_zero():
    """No gold and no prediction divide by nothing."""
    assert (Score().precision, Score().recall, Score().f1, Accuracy().share) == (0.0, 0.0, 0.0, 0.0)


@given(st.lists(st.tuples(small_sets, small_sets), max_size=5))
def test_scores_add_up_to_the_score_of_all_documents(pairs):
    """The sum over documents is the score of the union, in which answers of two documents differ."""
    added = sum((Score.of(predicted, gold) for predicted, gold in pairs), Score())
    predicted = {(index, one) for index, (ones, _) in enumerate(pairs) for one in ones}
    gold = {(index, one) for index, (_, ones) in enumerate(pairs) for one in ones}
    assert added == Score.of(predicted, gold)
    assert 0.0 <= added.f1 <= 1.0


def test_scores_accuracy_adds():
    """Right and total add apart."""
    assert (Accuracy(1, 2) + Accuracy(3, 3)).share == 4 / 5
