"""Mention texts to spans."""

import unicodedata
from itertools import pairwise, product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.ner.spans import SpanAligner, _longest_series
from tests.bounds import bounded

# Of a script without capitals, where no span is widened.
few_letters = st.text(alphabet="가나 ", max_size=14)
few_mentions = st.lists(st.text(alphabet="가나 ", min_size=1, max_size=3), max_size=4)


def slow_longest_series(candidates):
    """Length of the longest series of mentions placed one after another, by trying every choice."""
    longest = 0
    for choice in product(*([None, *spans] for spans in candidates)):
        placed = [span for span in choice if span is not None]
        if all(one[1] <= following[0] for one, following in pairwise(placed)):
            longest = max(longest, len(placed))
    return longest


@given(st.text(max_size=80), st.lists(st.text(max_size=6), max_size=6))
def test_offsets_never_leave_the_text(text, mentions):
    """Every span lies in the text, holds something, and there is one answer for every mention."""
    spans = SpanAligner(text).align(mentions)
    assert len(spans) == len(mentions)
    for span in spans:
        assert span is None or 0 <= span[0] < span[1] <= len(text)


@given(st.text(min_size=1, max_size=60), st.data())
@example("x\r\nYŻ 北京 e\u0301", None)
def test_offsets_find_whatever_is_in_the_text(text, data):
    """A mention copied from the text is grounded in an occurrence of it, widened where that cuts a word."""
    if data is None:
        start, end = 0, len(text)
    else:
        start = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
    mention = text[start:end]
    (span,) = SpanAligner(text).align([mention])
    assert span is not None
    found = text[span[0] : span[1]]
    assert mention in found
    added = found.replace(mention, "", 1)
    assert all(unicodedata.category(each)[0] in "LMNS" for each in added)


@pytest.mark.parametrize(
    ("text", "mention", "found"),
    [
        ("School of Colegio Dolores", "School of Co", "School of Colegio"),
        ("the Indriidae", "Indri", "Indriidae"),
        ("Rene\u0301e left", "Rene", "Rene\u0301e"),
        ("北京大学", "北京", "北京"),
        ("서울에서", "서울", "서울"),
        ("U.S.-based", "U.S.", "U.S."),
        ("Berlin's", "Berlin", "Berlin"),
    ],
)
def test_offsets_never_cut_a_word_of_a_script_with_capitals(text, mention, found):
    """A mention that breaks off within a word stands for the whole word; other scripts are left alone."""
    (span,) = SpanAligner(text).align([mention])
    assert span is not None
    assert text[span[0] : span[1]] == found


@given(few_letters, few_mentions)
def test_offsets_series_is_as_long_as_trying_everything(text, mentions):
    """The fast alignment places as many mentions one after another as the exhaustive one."""
    candidates = [
        [(i, i + len(mention)) for i in range(len(text)) if text.startswith(mention, i)]
        for mention in mentions
    ]
    placed = _longest_series(candidates)
    series = [span for span in placed if span is not None]
    assert all(one[1] <= following[0] for one, following in pairwise(series))
    assert all(span is None or span in spans for span, spans in zip(placed, candidates, strict=True))
    assert len(series) == slow_longest_series(candidates)


@given(few_letters, st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=4))
def test_offsets_repeat_a_span_only_when_occurrences_run_out(text, mentions):
    """Two mentions share a span only if every occurrence of their text is taken."""
    spans = [span for span in SpanAligner(text).align(mentions) if span is not None]
    for span in {span for span in spans if spans.count(span) > 1}:
        wanted = text[span[0] : span[1]]
        everywhere = [(i, i + len(wanted)) for i in range(len(text)) if text.startswith(wanted, i)]
        assert set(everywhere) <= set(spans)


@pytest.mark.parametrize(
    ("text", "mentions", "starts"),
    [
        ("Japan met Japan and Japan", ["Japan", "Japan", "Japan"], [0, 10, 20]),
        ("A x A B", ["A", "A B"], [0, 4]),
        ("A B x A", ["A B", "A"], [0, 6]),
        ("A B X", ["X", "A", "B"], [4, 0, 2]),
        ("US x USA, US", ["US", "US"], [0, 10]),
        ("USA beat US", ["US"], [9]),
        ("北京大学在北京", ["北京", "北京"], [0, 5]),
        ("IL-2 gene", ["IL-2 gene", "IL-2"], [0, 0]),
        ("😀 Ann 😀 Ann", ["Ann"], [2]),
        ("e\u0301 Rene\u0301 Rene", ["Rene"], [9]),
        ("Roe, Jane Roe", ["Jane Roe"], [5]),
    ],
)
def test_offsets_map_in_order_and_on_word_boundaries(text, mentions, starts):
    """Mentions given in order map to rising occurrences, whole words before parts of words."""
    assert [span and span[0] for span in SpanAligner(text).align(mentions)] == starts


@pytest.mark.parametrize(
    ("text", "mention", "found"),
    [
        ("New\u00a0York", "New York", "New\u00a0York"),
        ("in New\r\n  York.", "New York", "New\r\n  York"),
        ("東京\u3000都", "東京 都", "東京\u3000都"),
        ("Cafe\u0301 Rio", "Café Rio", "Cafe\u0301 Rio"),
        ("CAFÉ", "café", "CAFÉ"),
        ("the Straße", "STRASSE", "Straße"),
        ("ﬁnland", "finland", "ﬁnland"),
        ("ＩＢＭ", "IBM", "ＩＢＭ"),
        ("co\u00adoperate", "cooperate", "co\u00adoperate"),
    ],
)
def test_offsets_tolerate_other_forms_of_the_same(text, mention, found):
    """White space, composition, width and case may differ; the span is the text's own form."""
    (span,) = SpanAligner(text).align([mention])
    assert span is not None
    assert text[span[0] : span[1]] == found


@pytest.mark.parametrize(
    ("text", "mention"),
    [("AMS and ams", "Ams"), ("", "x"), ("Paris", ""), ("Paris", "London"), ("ﬁn", "f"), ("Pa ris", "Paris")],
)
def test_offsets_do_not_guess(text, mention):
    """What is not there, or only there in several other forms, is not grounded."""
    assert SpanAligner(text).align([mention]) == [None]


_MARKS = st.characters(categories=["Mn", "Mc", "Me"])


@given(st.text(max_size=40) | st.text(st.sampled_from("Aéﬁ ") | _MARKS, max_size=12))
@example("À\u0ccd")  # the canonical order of the two marks is not that of the composed form
def test_offsets_ground_every_normal_form(text):
    """The NFC and NFD forms of a whole text are found in it, or the text has no visible character."""
    for form in ("NFC", "NFD"):
        mention = unicodedata.normalize(form, text).strip()
        (span,) = SpanAligner(text).align([mention])
        if any(character.isalnum() for character in text):
            assert span is not None


def test_offsets_wild_repetition_is_fast():
    """A dozen mentions with thousands of occurrences each align in well under a second."""
    text = "가" * 5000 + " b"
    with bounded():
        spans = SpanAligner(text).align(["가", "가가", "b", "가"] * 3)
    assert None not in spans
