"""Overlapping windows of a long text, each short enough for the model.

Windows are counted in tokens, cut at a sentence end or else at a word boundary, and hold absolute code-point
offsets. Two share some tokens where the cut parts a sentence. They are made lazily, a piece of text at a
time, so that a text of any length costs the memory of a few windows and never holds an event loop for longer
than one window takes to encode.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream.ner.template import EncodedText, PromptTemplate

# Characters encoded at first to fill a window; Latin texts hold 3 to 5 characters a token.
_CHARACTERS_PER_TOKEN = 6
# A run that tokenises to almost nothing (a megabyte of spaces, say) ends a window all the same.
_MOST_CHARACTERS_PER_TOKEN = 64

_NOT_SPACE = re.compile(r"\S")
_WORD_START = re.compile(r"(?<!\S)\S")
_WORD_END = re.compile(r"\S(?!\S)")
# A full stop behind one to four letters of which the first is a capital may be an abbreviation's.
_SENTENCE_END = re.compile(
    r"""(?:[!?…]|(?<!\b[A-Z])(?<!\b[A-Z]\w)(?<!\b[A-Z]\w\w)(?<!\b[A-Z]\w\w\w)\.)["'”’)\]]*(?!\S)"""
    r"""|[。！？；]["'”’」』）]*|\S(?=\s*\n)"""
)
_ZERO_WIDTH_JOINER = "\u200d"
_JOINERS = frozenset("\u200c\u200d\ufe0e\ufe0f")
_LONGEST_GRAPHEME = 32
_NOTHING = -1  # end of what comes before the first window


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a text, ``text[start:end]``, as the model reads it.

    Attributes:
        start: First code point.
        end: One past the last code point.
        ids: Token ids of exactly ``text[start:end]``.
        opens: True where it begins with the text.
        closes: True where only white space follows it in the text.
    """

    start: int
    end: int
    ids: tuple[int, ...]
    opens: bool
    closes: bool


def windows(text: str, template: PromptTemplate) -> Iterator[Window]:
    """Windows over a text, in order; together they cover every character that is not white space.

    A text that fits in one window is one window, unchanged, as the model was trained to read it.
    A text of nothing but white space has none.
    """
    first = _NOT_SPACE.search(text)
    if first is None:
        return
    tokens = template.config.window.tokens
    start = 0 if first.start() < tokens else first.start()
    guess = tokens * _CHARACTERS_PER_TOKEN
    window, resume = _window_at(text, start, _NOTHING, guess, template)
    yield window
    while not window.closes:
        end, guess = window.end, 2 * (window.end - window.start)
        window, resume = _window_at(text, resume, end, guess, template)
        if window.end <= end:  # The overlap left no room for the next character.
            window, resume = _window_at(text, end, end, guess, template)
        yield window


def unread(text: str, read: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Character ranges outside all of ``read`` that hold more than white space, trimmed of it."""
    gaps: list[tuple[int, int]] = []
    position = 0
    for start, end in (*sorted(read), (len(text), len(text))):
        gap = text[position:start]
        trimmed = gap.strip()
        if trimmed:
            left = position + len(gap) - len(gap.lstrip())
            gaps.append((left, left + len(trimmed)))
        position = max(position, end)
    return gaps


def _window_at(
    text: str, start: int, beyond: int, guess: int, template: PromptTemplate
) -> tuple[Window, int]:
    """The window from ``start``, ending after ``beyond`` if it can, and where the next one begins.

    ``guess``: characters to encode at first to see how far it reaches.
    """
    tokens, overlap = template.config.window.tokens, template.config.window.overlap
    end, encoded = _reach(text, start, guess, template)
    limit, ends_sentence = end, False
    while end != len(text) or len(encoded.ids) > tokens:
        end, ends_sentence = _cut(text, start, limit, beyond)
        encoded = template.encode_text(text[start:end])
        excess = len(encoded.ids) - tokens
        if excess <= 0 or end - start == 1:
            break
        limit = max(start + 1, end - excess)
    following = _NOT_SPACE.search(text, end)
    window = Window(start, end, encoded.ids, opens=beyond == _NOTHING, closes=following is None)
    if following is None:
        return window, end
    # The rest of a sentence is read with the wrong count; only what a cut may part is read twice.
    shared = 0 if ends_sentence else min(overlap, len(encoded.ids) // 2)
    wanted = start + max(1, encoded.offsets[-shared][0]) if shared else end
    if text[wanted:end].isspace() or wanted == end:
        return window, following.start()
    return window, _overlap_start(text, start, wanted, end)


def _reach(text: str, start: int, guess: int, template: PromptTemplate) -> tuple[int, EncodedText]:
    """The furthest end of a window from ``start``, and the encoding that determined it."""
    tokens = template.config.window.tokens
    characters = guess
    while True:
        end = min(len(text), start + characters)
        encoded = template.encode_text(text[start:end])
        if len(encoded.ids) > tokens:
            return start + max(1, encoded.offsets[tokens - 1][1]), encoded
        if end == len(text) or characters >= tokens * _MOST_CHARACTERS_PER_TOKEN:
            return end, encoded
        characters *= 2


def _cut(text: str, start: int, limit: int, beyond: int) -> tuple[int, bool]:
    """The end of a window that can reach ``limit``, and whether a sentence ends there."""
    length = limit - start
    for boundary, share in ((_SENTENCE_END, 2 / 3), (_WORD_END, 1 / 2)):
        lowest = max(limit - int(length * share), beyond + 1)
        # One more character lets the patterns see what follows the limit; a match may not take it.
        ends = [match.end() for match in boundary.finditer(text, max(start, lowest - 1), limit + 1)]
        within = [end for end in ends if lowest <= end <= limit]
        if within:
            return within[-1], boundary is _SENTENCE_END
    return _between_graphemes(text, limit, lowest=max(start, beyond) + 1), False


def _overlap_start(text: str, start: int, wanted: int, end: int) -> int:
    """The start of the next window, which shares about ``text[wanted:end]`` with this one."""
    inside = _WORD_START.search(text, wanted, end)
    if inside is not None:
        return inside.start()
    # No word begins in the overlap: take the word that it lies in whole, unless that is much of the window.
    before = [
        match.start() for match in _WORD_START.finditer(text, max(start + 1, (start + end) // 2), wanted)
    ]
    return before[-1] if before else _between_graphemes(text, wanted, lowest=start + 1)


def _between_graphemes(text: str, position: int, *, lowest: int) -> int:
    """The nearest position at or before ``position`` that parts no character from its marks or joiners."""
    for candidate in range(position, max(lowest, position - _LONGEST_GRAPHEME) - 1, -1):
        if candidate == len(text) or not (
            text[candidate] in _JOINERS
            or text[candidate - 1] == _ZERO_WIDTH_JOINER
            or unicodedata.combining(text[candidate])
        ):
            return candidate
    return position
