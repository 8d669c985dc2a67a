"""Long texts in overlapping windows."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from stream.ner.windows import unread, windows
from tests.bounds import bounded
from tests.ner.oracle import tiny_template

prose = st.lists(
    st.one_of(
        st.text(),
        st.sampled_from(
            [
                "The cat sat. ",
                "word " * 9,
                "日本語の文。",
                "\r\n",
                "\u00a0",
                "👨‍👩‍👧‍👦",
                "é" * 30,
                "x" * 200,
                "   ",
            ]
        ),
    ),
    max_size=30,
).map("".join)
small = st.tuples(st.integers(8, 40), st.integers(0, 20)).map(
    lambda pair: (pair[0], min(pair[1], pair[0] // 2))
)


@given(prose, small)
@example("x" * 10_000, (8, 4))
@example("\u0301" * 100, (8, 4))
@example("a b", (8, 0))
def test_windows_cover_every_character_that_is_not_space(text, size):
    """No character but white space is outside all windows, whatever the text."""
    cut = list(windows(text, tiny_template(tokens=size[0], overlap=size[1])))
    assert unread(text, [(one.start, one.end) for one in cut]) == []


@given(prose, small)
def test_windows_hold_the_ids_of_their_text(text, size):
    """A window's ids are those of its text alone, within the token limit unless it is one character."""
    template = tiny_template(tokens=size[0], overlap=size[1])
    for one in windows(text, template):
        assert one.ids == template.encode_text(text[one.start : one.end]).ids
        assert len(one.ids) <= size[0] or one.end - one.start == 1


@given(prose, small)
def test_windows_advance(text, size):
    """Starts and ends grow from window to window; the first opens the text and only the last closes it."""
    cut = list(windows(text, tiny_template(tokens=size[0], overlap=size[1])))
    for one, following in pairwise(cut):
        assert one.start < following.start
        assert one.end < following.end
    assert [one.opens for one in cut] == [index == 0 for index in range(len(cut))]
    assert [one.closes for one in cut] == [index == len(cut) - 1 for index in range(len(cut))]


@given(st.text(min_size=1, max_size=40).filter(str.strip))
def test_windows_short_text_is_one_window_unchanged(text):
    """A text that fits is one window from its first to its last code point."""
    (one,) = windows(text, tiny_template(tokens=160))
    assert (one.start, one.end, one.opens, one.closes) == (0, len(text), True, True)


@given(st.text(alphabet=" \t\n\u00a0\u3000", max_size=50))
def test_windows_blank_text_has_none(text):
    """White space alone is nothing to read."""
    assert list(windows(text, tiny_template())) == []


@given(st.lists(st.text(alphabet="abcdefgh", min_size=1, max_size=12), min_size=60, max_size=200))
def test_windows_never_part_a_word(words):
    """In a text of words that fit well in a window, windows begin and end at word boundaries."""
    text = " ".join(words)
    for one in windows(text, tiny_template(tokens=80, overlap=30)):
        assert one.start == 0 or text[one.start - 1] == " "
        assert one.end == len(text) or text[one.end] == " "


def test_windows_end_with_a_sentence_where_one_is_near():
    """A window ends after a full stop in its last two thirds, and the next begins behind it."""
    text = "One two three four five six. Seven eight nine ten eleven twelve thirteen."
    first, second, *_ = windows(text, tiny_template(tokens=36, overlap=8))
    assert text[: first.end] == "One two three four five six."
    assert text[second.start :].startswith("Seven")


def test_windows_share_what_follows_an_abbreviation():
    """A full stop behind a short capitalised word ends no sentence, so the name is whole in some window."""
    text = "We were told of it again by the U.S. Army and by nobody else in the whole of that year."
    for tokens in range(16, 60):
        cut = [text[one.start : one.end] for one in windows(text, tiny_template(tokens=tokens, overlap=8))]
        assert any("the U.S. Army" in one for one in cut) or tokens < 2 * len("U.S. Army"), (tokens, cut)


def test_windows_part_no_character_from_its_marks():
    """In a run without spaces a window does not begin or end between a letter and its combining mark."""
    text = "e\u0301" * 500
    for one in windows(text, tiny_template(tokens=20, overlap=7)):
        assert text[one.start] == "e"
        assert text[one.end - 1] == "\u0301"


def test_windows_overlap_holds_a_short_entity_whole():
    """Any three words in a row are whole in some window."""
    words = [f"w{index:03}" for index in range(300)]
    text = " ".join(words)
    cut = [text[one.start : one.end] for one in windows(text, tiny_template(tokens=80, overlap=24))]
    for index in range(298):
        assert any(" ".join(words[index : index + 3]) in one for one in cut)


def test_windows_are_lazy():
    """The first window of a very long text costs no more than a window."""
    text, template = "A line of words, with a Name in it.\r\n" * 10_000, tiny_template(tokens=160)
    with bounded(seconds=0.25):
        next(windows(text, template))


@given(st.text(), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).map(tuple)))
def test_unread_equals_the_characters_outside_all_ranges(text, read):
    """The gaps reported hold exactly the characters outside every range, white space at their edges aside."""
    outside = {
        index
        for index, character in enumerate(text)
        if not any(start <= index < end for start, end in read) and not character.isspace()
    }
    reported = {index for start, end in unread(text, read) for index in range(start, end)}
    assert outside <= reported
    assert all(index in outside or text[index].isspace() for index in reported)


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3000))
def test_windows_skip_long_white_space(before, between, after):
    """Runs of white space, however long, cost no windows of their own."""
    text = " " * before + "one" + " " * between + "two" + "\n" * after
    cut = list(windows(text, tiny_template(tokens=40, overlap=10)))
    assert len(cut) <= 3
    assert all(text[one.start : one.end].strip() for one in cut)
    assert unread(text, [(one.start, one.end) for one in cut]) == []
