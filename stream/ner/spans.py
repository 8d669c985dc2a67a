"""Span alignment: mention texts to code-point spans of the text.

A model writes a label's mentions in the order of the text. So the mentions of one label are aligned with
the text as a whole: the longest series of them that can be placed one after another is placed, each at its
earliest possible occurrence, then the others go to free occurrences, near their place in the order where
there is one. Labels are aligned apart, so that asking for one more label moves no other label's entities.
"""

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

Span = tuple[int, int]

_SPACES = re.compile(r"\s+")
# Scripts written without spaces: any place between two of their characters may be a word boundary.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\ua000-\ua4cf\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


class SpanAligner:
    """Aligns mentions with one text.

    A mention is matched exactly; else with all white space equal (NBSP, CRLF, double spaces); else without
    regard to case, composition and compatibility forms, the last only where the occurrence is unambiguous.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def align(self, mentions: Sequence[str]) -> list[Span | None]:
        """Spans of one label's mentions, given in the order the model wrote them.

        Returns:
            A span for every mention, or None for one that is not in the text. A span is given twice only
            when a mention is written more often than the text has it, or when it cuts a word that another
            mention has whole.
        """
        if not mentions:  # as for most labels of most documents
            return []
        repeats = Counter(mentions)
        found = {mention: self._occurrences(mention, times) for mention, times in repeats.items()}
        candidates = [found[mention] for mention in mentions]
        spans = _place_rest(candidates, _longest_series(candidates))
        return [None if span is None else self._widened(span) for span in spans]

    def _occurrences(self, mention: str, times: int) -> list[Span]:
        """Candidate spans of a mention that the model wrote ``times`` times, in the order of the text."""
        if not mention:
            return []
        spans = _find_all(self.text, mention)
        if not spans:
            spans = self._spaced.find_all(mention)
        if spans:
            whole = [span for span in spans if self._is_whole(span)]
            return whole if len(whole) >= times else spans
        spans = self._folded.find_all(mention)
        whole = [span for span in spans if self._is_whole(span)]
        return next((choice for choice in (spans, whole) if 0 < len(choice) <= times), [])

    def _is_whole(self, span: Span) -> bool:
        """True for a span that begins and ends at word boundaries."""
        return not (self._inside_word(span[0]) or self._inside_word(span[1]))

    def _widened(self, span: Span) -> Span:
        """Widen a span that cuts a word of a cased script, or a letter from its marks.

        Half of such a word is a decoding error. Other scripts join words and endings without a boundary that
        code can see, so their spans stay.
        """
        start, end = span
        while start and _one_word(self.text[start - 1], self.text[start]):
            start -= 1
        while end < len(self.text) and _one_word(self.text[end - 1], self.text[end]):
            end += 1
        return start, end

    def _inside_word(self, position: int) -> bool:
        if position == 0 or position == len(self.text):
            return False
        before, after = self.text[position - 1], self.text[position]
        if _is_mark(after):
            return True
        return (
            before.isalnum() and after.isalnum() and not (_UNSPACED.match(before) and _UNSPACED.match(after))
        )

    @cached_property
    def _spaced(self) -> "_NormalisedText":
        return _NormalisedText.of(self.text, _spaced)

    @cached_property
    def _folded(self) -> "_NormalisedText":
        return _NormalisedText.of(self.text, _folded)


@dataclass(frozen=True, slots=True)
class _NormalisedText:
    """A text normalised piece by piece, with a map back to the original.

    A piece is a character with the combining marks after it, since Unicode's normal forms reorder those.

    Attributes:
        text: The rewritten text.
        origins: Span in the original of the piece that each rewritten character came from.
        rewrite: What rewrites one piece.
    """

    text: str
    origins: list[Span]
    rewrite: Callable[[str], str]

    @classmethod
    def of(cls, original: str, rewrite: Callable[[str], str]) -> "_NormalisedText":
        rewritten: list[str] = []
        origins: list[Span] = []
        in_space = False
        for start, end in _pieces(original):
            piece = rewrite(original[start:end])
            if piece == " " and in_space:
                continue
            in_space = piece == " "
            rewritten.append(piece)
            origins.extend([(start, end)] * len(piece))
        return cls("".join(rewritten), origins, rewrite)

    def find_all(self, mention: str) -> list[Span]:
        """Spans in the original of a mention rewritten alike, none beginning or ending within a piece."""
        wanted = _NormalisedText.of(mention.strip(), self.rewrite).text
        if not wanted:
            return []
        origins, last = self.origins, len(self.origins)
        return [
            (origins[start][0], origins[end - 1][1])
            for start, end in _find_all(self.text, wanted)
            if (start == 0 or origins[start - 1] != origins[start])
            and (end == last or origins[end - 1] != origins[end])
        ]


def _pieces(text: str) -> Iterator[Span]:
    """Spans of the parts within which canonical ordering moves characters (Unicode 3.11, D108-D109).

    White space stands alone: mentions are cut there.
    """
    start = 0
    for index in range(1, len(text) + 1):
        if index == len(text) or text[index - 1].isspace() or not _reorders(text[index]):
            yield start, index
            start = index


def _reorders(character: str) -> bool:
    return bool(unicodedata.combining(unicodedata.normalize("NFKD", character)[0]))


def _one_word(before: str, after: str) -> bool:
    """True where no entity ends between two neighbours: cased letters, or a letter and its marks."""
    return _is_mark(after) or (_has_case(after) and (_has_case(before) or _is_mark(before)))


def _has_case(character: str) -> bool:
    return character.upper() != character.lower()


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _spaced(piece: str) -> str:
    return " " if piece.isspace() else piece


def _folded(piece: str) -> str:
    if piece.isspace():
        return " "
    visible = "".join(character for character in piece if unicodedata.category(character) != "Cf")
    # Folding can compose (U+0345 becomes iota), so it is decomposed again.
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", visible).casefold())


def _find_all(text: str, wanted: str) -> list[Span]:
    spans: list[Span] = []
    start = text.find(wanted)
    while start != -1:
        spans.append((start, start + len(wanted)))
        start = text.find(wanted, start + 1)
    return spans


def _longest_series(candidates: Sequence[Sequence[Span]]) -> list[Span | None]:
    """The longest series of mentions that fit one after another without overlap, each as early as can be.

    ``ends[c]`` is the earliest end of a series of ``c`` of the mentions seen so far; a mention lengthens
    the best series of ``c - 1`` or leaves it. Quadratic in the mentions (a dozen), logarithmic in the
    occurrences.
    """
    ends = [0]
    taken: list[dict[int, Span]] = []
    for spans in candidates:
        chosen: dict[int, Span] = {}
        for length in range(len(ends), 0, -1):
            index = bisect_left(spans, (ends[length - 1], 0))
            if index == len(spans):
                continue
            span = spans[index]
            if length == len(ends):
                ends.append(span[1])
            elif span[1] < ends[length]:
                ends[length] = span[1]
            else:
                continue
            chosen[length] = span
        taken.append(chosen)
    placed: list[Span | None] = [None] * len(candidates)
    length = len(ends) - 1
    for index in range(len(candidates) - 1, -1, -1):
        if length in taken[index]:
            placed[index] = taken[index][length]
            length -= 1
    return placed


def _place_rest(candidates: Sequence[Sequence[Span]], placed: list[Span | None]) -> list[Span | None]:
    """Give the mentions outside the series a free occurrence, or a repeat where none is free.

    One in order is best, then one clear of the others, then any.
    """
    result = list(placed)
    used = {span for span in placed if span is not None}
    for index, spans in enumerate(candidates):
        if result[index] is not None or not spans:
            continue
        before = next((span[0] for span in reversed(result[:index]) if span is not None), 0)
        after = next((span[0] for span in placed[index + 1 :] if span is not None), None)
        free = [span for span in spans if span not in used]
        in_order = [span for span in free if before <= span[0] and (after is None or span[0] <= after)]
        clear = [span for span in free if not any(span[0] < end and start < span[1] for start, end in used)]
        choice = next((options[0] for options in (in_order, clear, free) if options), spans[0])
        result[index] = choice
        used.add(choice)
    return result
