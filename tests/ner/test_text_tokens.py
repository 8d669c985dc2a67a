"""Parts of a text and the tokens that spell them."""

from hypothesis import given
from hypothesis import strategies as st

from stream.ner.text_tokens import TextTokens
from tests.ner.oracle import tiny_template
from tests.ner.test_template import as_read
from tests.training.synthetic import template

TEMPLATE = template()


@given(st.text(max_size=30), st.data())
def test_spelling_tokens_spell_exactly_the_span(text, data):
    """Tokens found for a span cover the span, and no more than white space before it."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    spelled = TextTokens.of(text, TEMPLATE)
    tokens = spelled.tokens(start, end) if end > start else None
    if tokens:
        offsets = spelled.encoded.offsets
        covered = text[offsets[tokens[0]][0] : offsets[tokens[1] - 1][1]]
        assert covered.lstrip() == text[start:end].lstrip()


@given(st.text(max_size=30), st.data())
def test_spelling_ids_say_the_span(text, data):
    """The ids of a span decode to it, whether they are the text's own or not; white space as it is read."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    spelled = TextTokens.of(text, TEMPLATE)
    assert TEMPLATE.decode_mention(spelled.ids(start, end)) == as_read(text[start:end])


def test_spelling_finds_words_and_refuses_half_tokens():
    """A word is spelled by its tokens, the space before it included; a part of a token by none."""
    spelled = TextTokens.of("Grace Hopper", TEMPLATE)
    first, last = spelled.tokens(6, 12)
    assert TEMPLATE.show(spelled.encoded.ids[first:last]) == " Hopper"
    assert last == len(spelled.encoded.ids)
    assert spelled.tokens(7, 12) is None
    assert spelled.covering(7, 12) == (first, last)


def test_spelling_takes_all_bytes_of_a_character():
    """Where a character is several tokens, a span holds all of them."""
    spelled = TextTokens.of("in 東京", tiny_template())
    assert spelled.tokens(3, 5) == (3, 9)
    assert spelled.tokens(4, 5) == (6, 9)
