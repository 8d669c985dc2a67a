"""From treebank spacing to raw text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.training.augment import detokenise, parenthesise
from tests.training.synthetic import sentence

WORDS = st.sampled_from(
    ["Ada", "Oslo", "(", ")", "-LPR-", "-RPR-", '"', "'", "'s", ",", ".", "-", "/", "$", "``", "''", "x"]
)


def spelled(result) -> list[str]:
    """The texts of a sentence's mentions."""
    return [result.text[m.start : m.end] for m in result.mentions]


@pytest.mark.parametrize(
    ("tokenised", "raw"),
    [
        ("Japan 's FIFA , -LPR- Reuters -RPR- .", "Japan's FIFA, (Reuters)."),
        ('He said " yes " and left .', 'He said "yes" and left.'),
        ("They do n't pay $ 5 !", "They don't pay $5!"),
        ("`` Go '' , she said", '"Go", she said'),
    ],
)
def test_detokenise_writes_text_as_people_do(tokenised, raw):
    """Marks cling to their words, brackets are restored and quotes closed up."""
    assert detokenise(sentence(tokenised)).text == raw


def test_detokenise_joins_hyphens_only_where_the_corpus_spaced_them():
    """``L - dopa`` becomes ``L-dopa`` for such a corpus; elsewhere a lone hyphen is a dash."""
    spaced = sentence("L - dopa")
    assert detokenise(spaced, spaced_hyphens=True).text == "L-dopa"
    assert detokenise(spaced).text == "L - dopa"


def test_detokenise_carries_mentions_along():
    """A mention keeps its characters, closed up where the text is."""
    tokenised = sentence(
        "( Ada ) of Lloyd 's , Oslo", ("Ada", "person"), ("Lloyd 's", "person"), ("Oslo", "location")
    )
    assert spelled(detokenise(tokenised)) == ["Ada", "Lloyd's", "Oslo"]


@given(st.lists(WORDS, min_size=1, max_size=12), st.booleans())
def test_detokenise_loses_no_mention_of_whole_words(words, spaced_hyphens):
    """Every word that is a mention is one afterwards, with the same letters."""
    tokenised = sentence(" ".join(words), *((w, "person") for w in words if w.isalpha()))
    for change in (lambda s: detokenise(s, spaced_hyphens=spaced_hyphens), parenthesise):
        assert spelled(change(tokenised)) == spelled(tokenised)


def test_parenthesise_changes_brackets_alone():
    """Treebank brackets become parentheses, spacing stays."""
    result = parenthesise(sentence("Ada -LPR- Oslo -RPR- .", ("Ada", "person"), ("Oslo", "location")))
    assert result.text == "Ada ( Oslo ) ."
    assert spelled(result) == ["Ada", "Oslo"]
