"""Counts and mentions of completions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.generation import Completion
from stream.ner.parallel_decoding import probability, read_count, read_mention
from tests.ner.oracle import tiny_template
from tests.ner.test_template import as_read

TEMPLATE = tiny_template()


@given(st.lists(st.floats(allow_subnormal=False)))
def test_decoding_probability_is_always_one(log_probs):
    """Whatever an engine reports, not-a-number and infinities included, a score is in [0, 1]."""
    assert 0.0 <= probability(log_probs) <= 1.0


@given(st.lists(st.floats(0.01, 1.0), max_size=20))
def test_decoding_probability_is_the_product(probabilities):
    """The score is the product of the tokens' probabilities."""
    assert probability([math.log(one) for one in probabilities]) == pytest.approx(math.prod(probabilities))


@given(st.integers(0, 12), st.floats(0.01, 1.0))
def test_decoding_read_a_count(count, score):
    """A count's ids give its number, their log-probabilities its score."""
    answer = read_count(Completion(TEMPLATE.count_answer_ids(count), (math.log(score),)), TEMPLATE)
    assert answer.number == count
    assert answer.score == pytest.approx(score)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decoding_reads_a_mention(text):
    """A mention's ids give its text, with white space as models read it and none around it."""
    ids = TEMPLATE.encode_text(text).ids
    assert read_mention(Completion(ids, (0.0,) * len(ids)), TEMPLATE).text == as_read(text)


def test_decoding_of_a_count_without_meaning_is_none():
    """Ids that are no count have no number, and keep their score."""
    answer = read_count(Completion((0,), (math.log(0.5),)), TEMPLATE)
    assert (answer.number, answer.score) == (None, pytest.approx(0.5))
