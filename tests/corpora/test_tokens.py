"""Tokens and tagging schemes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.corpora.tokens import Scheme, guess, spans_of, tags_of


@st.composite
def flat_spans(draw):
    """A number of tokens, and spans of them that do not overlap, many of them side by side."""
    spans, at = [], 0
    for gap, length, label in draw(
        st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3), st.sampled_from(["A", "B-C"])), max_size=5)
    ):
        spans.append((at + gap, at + gap + length - 1, label))
        at += gap + length
    return at + draw(st.integers(0, 2)), spans


@pytest.mark.parametrize("scheme", Scheme)
@given(given_spans=flat_spans())
def test_tokens_tags_give_back_what_they_were_made_of(scheme, given_spans):
    """Tags of any entities that do not overlap say the same entities again, without a problem."""
    tokens, spans = given_spans
    tagged = spans_of(tags_of(tokens, spans, scheme), scheme)
    assert (tagged.spans, tagged.problems) == (spans, [])


SPANS = [(0, 0, "A"), (1, 3, "A"), (4, 5, "B"), (7, 7, "B")]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        (Scheme.IOB1, "I-A B-A I-A I-A I-B I-B O I-B"),
        (Scheme.IOB2, "B-A B-A I-A I-A B-B I-B O B-B"),
        (Scheme.BIOES, "S-A B-A I-A E-A B-B E-B O S-B"),
        (Scheme.BILOU, "U-A B-A I-A L-A B-B L-B O U-B"),
    ],
)
def test_tokens_tags_are_those_of_the_scheme(scheme, tags):
    """Each scheme writes its own letters."""
    assert tags_of(8, SPANS, scheme) == tags.split()


@pytest.mark.parametrize(
    ("scheme", "tags", "problems"),
    [
        (Scheme.IOB2, "O I-A I-A", {1: "no B-A comes before it"}),
        (Scheme.IOB2, "B-A I-B O", {1: "I-B continues no entity"}),
        (Scheme.IOB2, "B-A E-A O", {1: "none of iob2"}),
        (Scheme.IOB1, "O B-A O", {1: "follows no entity"}),
        (Scheme.IOB1, "I-B B-A O", {1: "follows no entity"}),
        (Scheme.BIOES, "B-A I-A O", {1: "no end"}),
        (Scheme.BIOES, "B-A S-A O", {0: "no end"}),
        (Scheme.BIOES, "E-A O O", {0: "E-A continues no entity"}),
        (Scheme.BIOES, "B-A E-B O", {0: "no end", 1: "E-B continues no entity"}),
        (Scheme.BIOES, "O O B-A", {2: "no end"}),
        (Scheme.BILOU, "B-A E-A O", {1: "none of bilou"}),
        (Scheme.IOB2, "PER b-A B-", {0: '"PER"', 1: '"b-A"', 2: '"B-"'}),
    ],
)
def test_tokens_tags_that_a_scheme_forbids_are_named(scheme, tags, problems):
    """Every tag that cannot stand where it stands is named by its place."""
    found = dict(spans_of(tags.split(), scheme).problems)
    assert found.keys() == problems.keys()
    for number, words in problems.items():
        assert words in found[number]


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [("O", "iob2"), ("I-A B-A", "iob2"), ("B-A S-A", "bioes"), ("B-A L-A", "bilou"), ("U-A E", "bilou")],
)
def test_tokens_tags_tell_their_scheme_by_letters(tags, scheme):
    """S or E mean BIOES, L or U mean BILOU, and nothing tells IOB1."""
    assert guess(tags.split()) == scheme
