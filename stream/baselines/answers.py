"""Answers of each format: gold mentions written as token ids, and mentions read from a model's token ids.

Reading never fails: a piece without the form of a mention of a known label is skipped.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, Self

from stream.baselines.config import Baseline
from stream.errors import CheckpointError
from stream.ner.template import PromptTemplate
from stream.ner.text_tokens import TextTokens

Ids = tuple[int, ...]

_BRACKETS = {
    Baseline.AUTOREG_STRUCT: ("(", ":", ")"),
    Baseline.AUTOREG_AUG: ("[", "|", "]"),
    Baseline.ONESTEP: (),
}
_COMMA = ","


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids of the marks that give an answer its structure, one each in a checkpoint trained for the format.

    Attributes:
        comma: Between mentions, and between the labels of a prompt.
        opening: Before an entity.
        middle: Between its label and its mention.
        closing: After it.
    """

    comma: Ids
    opening: Ids = ()
    middle: Ids = ()
    closing: Ids = ()

    @classmethod
    def trained(cls, baseline: Baseline, template: PromptTemplate) -> Self:
        """The control tokens of a checkpoint that was trained for a format.

        Raises:
            CheckpointError: The tokenizer lacks one.
        """
        found = {token: template.control_token(token) for token in mark_tokens(baseline)}
        missing = [token for token, number in found.items() if number is None]
        if missing:
            raise CheckpointError(
                f"the tokenizer has no control token {' nor '.join(missing)}, so marks of the format "
                f"{baseline} cannot be distinguished from text: it was trained for another format"
            )
        return cls(*((number,) for number in found.values() if number is not None))

    @classmethod
    def plain(cls, baseline: Baseline, template: PromptTemplate) -> Self:
        """Ordinary tokens spelled like the marks, for answers that are forced and never read."""
        return cls(*(template.encode_text(mark).ids for mark in (_COMMA, *_BRACKETS[baseline])))


def mark_tokens(baseline: Baseline) -> list[str]:
    """Control tokens of a format, beside the template's."""
    return [f"<{mark}>" for mark in (_COMMA, *_BRACKETS[baseline])]


@dataclass(frozen=True, slots=True)
class GoldMention:
    """A mention of a text, ``text[start:end]`` in code points, under a label."""

    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class AnsweredMention:
    """A mention in an answer: its label, and the places of the tokens that spell it."""

    label: str
    places: Ids


class AnswerForm(Protocol):
    """One format; ``labels`` are the labels of a prompt and their ids."""

    def write(self, text: TextTokens, mentions: Sequence[GoldMention], labels: Mapping[str, Ids]) -> Ids:
        """The answer for mentions in the order of the text, outer ones first, without the end id."""
        ...

    def read(self, answer: Sequence[int], labels: Mapping[str, Ids]) -> list[AnsweredMention]:
        """The mentions of an answer, in the order of the text."""
        ...


def answer_form(baseline: Baseline, marks: Marks) -> AnswerForm:
    """The form of a format."""
    forms: dict[Baseline, type[StructuredAnswer | AugmentedAnswer | ListAnswer]] = {
        Baseline.AUTOREG_STRUCT: StructuredAnswer,
        Baseline.AUTOREG_AUG: AugmentedAnswer,
        Baseline.ONESTEP: ListAnswer,
    }
    return forms[baseline](marks)


class StructuredAnswer:
    """AutoReg_Struct: ``((LOC : Japan) , (ORG : FIFA))``."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def write(self, text: TextTokens, mentions: Sequence[GoldMention], labels: Mapping[str, Ids]) -> Ids:
        """See ``AnswerForm``."""
        marks = self._marks
        entities = [
            marks.opening + labels[one.label] + marks.middle + text.ids(one.start, one.end) + marks.closing
            for one in mentions
        ]
        return marks.opening + _joined(entities, marks.comma) + marks.closing

    def read(self, answer: Sequence[int], labels: Mapping[str, Ids]) -> list[AnsweredMention]:
        """See ``AnswerForm``."""
        (opening,), (middle,), (closing,) = self._marks.opening, self._marks.middle, self._marks.closing
        names = {ids: name for name, ids in labels.items()}
        marks = [
            at for at, token in enumerate(answer) if token in (opening, middle, closing, *self._marks.comma)
        ]
        found = []
        for first, second, third in zip(marks, marks[1:], marks[2:], strict=False):
            if (answer[first], answer[second], answer[third]) == (opening, middle, closing):
                name = names.get(tuple(answer[first + 1 : second]))
                places = tuple(range(second + 1, third))
                if name is not None and places:
                    found.append(AnsweredMention(name, places))
        return found


class AugmentedAnswer:
    """AutoReg_Aug: ``the [Bank of [Japan | LOC] | ORG]``.

    A mention whose border lies within a token is marked at the token's border. Brackets cannot cross: of two
    mentions that do, the first is marked.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def write(self, text: TextTokens, mentions: Sequence[GoldMention], labels: Mapping[str, Ids]) -> Ids:
        """See ``AnswerForm``."""
        marks = self._marks
        written: list[int] = []
        open_ones: list[tuple[int, str]] = []  # ends and labels, innermost last
        ahead = _nesting((*text.covering(one.start, one.end), one.label) for one in mentions)
        for place in range(len(text.encoded.ids) + 1):
            while open_ones and open_ones[-1][0] == place:
                written += marks.middle + labels[open_ones.pop()[1]] + marks.closing
            while ahead and ahead[0][0] == place:
                _, end, label = ahead.pop(0)
                open_ones.append((end, label))
                written += marks.opening
            written += text.encoded.ids[place : place + 1]
        return tuple(written)

    def read(self, answer: Sequence[int], labels: Mapping[str, Ids]) -> list[AnsweredMention]:
        """See ``AnswerForm``."""
        (opening,), (middle,), (closing,) = self._marks.opening, self._marks.middle, self._marks.closing
        names = {ids: name for name, ids in labels.items()}
        text: list[int] = []
        open_ones: list[tuple[int, int]] = []  # places of the bracket, and tokens of text before it
        found: list[tuple[int, AnsweredMention]] = []
        named: int | None = None  # where a label begins
        for at, token in enumerate(answer):
            if token == opening:
                open_ones.append((at, len(text)))
                named = None
            elif token == middle:
                named = at + 1
            elif token == closing:
                name = None if named is None else names.get(tuple(answer[named:at]))
                if open_ones:
                    bracket, before = open_ones.pop()
                    if name is not None and len(text) > before:
                        found.append((bracket, AnsweredMention(name, tuple(text[before:]))))
                named = None
            elif named is None and token not in self._marks.comma:
                text.append(at)
        return [one for _, one in sorted(found, key=lambda each: each[0])]


class ListAnswer:
    """OneStep: all mentions of the prompt's only label, ``Japan , Korea``; none: an empty answer."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def write(self, text: TextTokens, mentions: Sequence[GoldMention], labels: Mapping[str, Ids]) -> Ids:
        """See ``AnswerForm``."""
        return _joined(
            [text.ids(one.start, one.end) for one in mentions if one.label in labels], self._marks.comma
        )

    def read(self, answer: Sequence[int], labels: Mapping[str, Ids]) -> list[AnsweredMention]:
        """See ``AnswerForm``."""
        (name,) = labels
        (comma,) = self._marks.comma
        borders = [-1, *(at for at, token in enumerate(answer) if token == comma), len(answer)]
        pieces = [tuple(range(start + 1, end)) for start, end in pairwise(borders)]
        return [AnsweredMention(name, places) for places in pieces if places]


def _joined(pieces: Sequence[Ids], comma: Ids) -> Ids:
    joined: Ids = ()
    for piece in pieces:
        joined += (comma if joined else ()) + piece
    return joined


def _nesting(spans: Iterable[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """The spans in order, outer ones first, without those that cross one before them."""
    kept: list[tuple[int, int, str]] = []
    for start, end, label in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start < end and not any(before < start < until < end for before, until, _ in kept):
            kept.append((start, end, label))
    return kept
