"""Random changes to sentences."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.training.augment import (
    detokenise,
    join,
    lower_case,
    names_by_phrase,
    parenthesise,
    swap_names,
    upper_case,
    wrap,
)
from tests.training.synthetic import sentence

ADA = sentence("Ada saw Oslo .", ("Ada", "person"), ("Oslo", "location"))
WORDS = st.sampled_from(
    ["Ada", "Oslo", "(", ")", "-LPR-", "-RPR-", '"', "'", "'s", ",", ".", "-", "/", "$", "``", "''", "x"]
)


def spelled(result) -> list[str]:
    """The texts of a sentence's mentions."""
    return [result.text[m.start : m.end] for m in result.mentions]


def test_augment_swapped_names_keep_their_places():
    """Each mention becomes a name of its own phrase, and the rest of the text stays."""
    names = {"person": ["Grace Hopper"], "location": ["New York"]}
    swapped = swap_names(ADA, names, 1.0, Random(0))
    assert swapped.text == "Grace Hopper saw New York ."
    assert spelled(swapped) == ["Grace Hopper", "New York"]


def test_augment_swap_leaves_nested_mentions_alone():
    """A sentence with one mention inside another is not changed."""
    nested = sentence("Bank of Oslo", inventory=("organization", "location"))
    outer = sentence("Bank of Oslo", ("Bank of Oslo", "organization")).mentions
    inner = sentence("Bank of Oslo", ("Oslo", "location")).mentions
    nested = type(nested)(nested.text, outer + inner, nested.inventory)
    assert swap_names(nested, {"organization": ["X"], "location": ["Y"]}, 1.0, Random(0)) is nested


def test_augment_capitals_stay_capitals_when_swapped():
    """A name from a headline in capitals is replaced by one in capitals."""
    headline = sentence("BALTIMORE WINS", ("BALTIMORE", "location"))
    assert swap_names(headline, {"location": ["Oslo"]}, 1.0, Random(0)).text == "OSLO WINS"


def test_augment_joined_sentences_keep_all_mentions():
    """Mentions of every sentence are found in the joined text."""
    joined = join([ADA, ADA, ADA], "\n")
    assert spelled(joined) == ["Ada", "Oslo"] * 3
    assert joined.text.count("\n") == 2


def test_augment_upper_case_keeps_offsets():
    """Capitals are set only where no character becomes two."""
    assert spelled(upper_case(ADA)) == ["ADA", "OSLO"]
    sharp = sentence("Ada in der Straße", ("Ada", "person"))
    assert upper_case(sharp) is sharp


def test_augment_lower_case_keeps_offsets():
    """Small letters are set only where no character becomes two."""
    assert spelled(lower_case(ADA)) == ["ada", "oslo"]
    dotted = sentence("Ada in İzmir", ("Ada", "person"))
    assert lower_case(dotted) is dotted


@given(st.lists(WORDS, min_size=1, max_size=40), st.integers(1, 20))
def test_augment_wrapped_lines_are_no_longer_than_they_must(words, width):
    """Spaces become line ends, nothing else changes, and only a word longer than a line is longer than it."""
    before = sentence(" ".join(words))
    after = wrap(before, width)
    assert after.text.replace("\n", " ") == before.text
    assert all(len(line) <= width or " " not in line.strip() for line in after.text.split("\n"))


def test_augment_wrapped_lines_keep_offsets():
    """A mention may go over the end of a line; its place stays."""
    wrapped = wrap(sentence("Ada saw New York .", ("Ada", "person"), ("New York", "location")), 12)
    assert wrapped.text == "Ada saw New\nYork ."
    assert spelled(wrapped) == ["Ada", "New\nYork"]


def test_augment_names_are_collected_by_phrase():
    """Names stand under their phrase as often as they occur; very long ones are left out."""
    long = sentence("a b c d e f", ("a b c d e f", "person"))
    assert names_by_phrase([ADA, ADA, long]) == {"person": ["Ada", "Ada"], "location": ["Oslo", "Oslo"]}


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


def test_augment_joined_sentences_are_annotated_with_what_all_of_them_are():
    """A phrase that one of the sentences is not annotated with is asked of none of the joined text."""
    other = replace(ADA, mentions=ADA.mentions[:1], inventory=("person",))
    joined = join([ADA, other])
    assert (joined.inventory, spelled(joined)) == (("person",), ["Ada", "Ada"])


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
