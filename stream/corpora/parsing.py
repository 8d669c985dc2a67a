"""Documents from values that may be anything: checked offsets, places in files, options of formats."""

import json
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from stream.corpora.document import AnnotatedDocument, GoldEntity
from stream.offsets import OffsetUnit

_LONGEST_QUOTE = 80
_MOST_PROBLEMS = 100  # of one document; the rest is not looked for
# Entities are held with their texts, so overlapping ones could take memory beyond any bound.
_COVERED_CHARACTERS, _COVERED_TIMES = 1_000_000, 10

_T = TypeVar("_T")
_as_json = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, counted from 1; without a line the file as a whole.

    Attributes:
        file: The file.
        line: The number of the line, or of another ``unit`` in files without lines.
        unit: The noun for what ``line`` counts.
    """

    file: Path
    line: int | None = None
    unit: str = "line"

    def __str__(self) -> str:
        return str(self.file) if self.line is None else f"{self.file}, {self.unit} {self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason why a document cannot be used."""

    place: Place
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """One document of a file, or its problems.

    Attributes:
        place: Where it begins.
        document: None when there are problems.
        problems: Everything that is wrong with it, the first hundred things at most.
        entity_places: Where each of the document's entities stands; empty where that is ``place``.
    """

    place: Place
    document: AnnotatedDocument | None
    problems: tuple[Problem, ...] = ()
    entity_places: tuple[Place, ...] = ()

    def place_of(self, entity: int) -> Place:
        """The place of the document's entity of that index."""
        return self.entity_places[entity] if self.entity_places else self.place


def rejected(place: Place, reason: str) -> ParsedDocument:
    """A document that cannot be read at all."""
    return ParsedDocument(place, None, (Problem(place, reason),))


class OffsetTable:
    """Offsets of one text in some unit, as code points.

    Attributes:
        differs: Whether the unit counts this text otherwise than code points do.
    """

    def __init__(self, text: str, unit: OffsetUnit) -> None:
        self._text = text
        self._unit = unit
        self._starts = array("Q")
        if unit is OffsetUnit.UTF_16 and not text.isascii() and max(text) > "\uffff":
            self._starts.extend(accumulate((1 + (c > "\uffff") for c in text), initial=0))
        elif unit is OffsetUnit.UTF_8 and not text.isascii():
            widths = (1 + (c > "\x7f") + (c > "\u07ff") + (c > "\uffff") for c in text)
            self._starts.extend(accumulate(widths, initial=0))
        self.differs = bool(self._starts)

    def span(self, start: object, end: object, mention: object = None) -> tuple[int, int]:
        """Offsets in code points of a span.

        Args:
            start: Offset of the first character, in the table's unit.
            end: One past the last.
            mention: The text of the span; None: any.

        Raises:
            ValueError: It is no span of the text, or does not read ``mention``; the message is for a person.
        """
        if type(start) is not int or type(end) is not int:
            raise ValueError(f"offsets are whole numbers, and {quoted(start)} to {quoted(end)} are not")
        first, last = self._code_point(start), self._code_point(end)
        if first is None or last is None:
            raise ValueError(
                f"an entity is marked at {start}-{end}, which parts a character in two "
                f"(offsets are {self._unit.noun})"
            )
        if mention is not None and not reads(self._text, first, last, mention):
            raise ValueError(
                f"entity {quoted(mention)} is marked at {start}-{end}, where the text has "
                f"{_excerpt(self._text, first, last)} (offsets are {self._unit.noun})"
            )
        if not 0 <= first < last <= len(self._text):
            size = self._starts[-1] if self.differs else len(self._text)
            raise ValueError(
                f"an entity is marked at {start}-{end}, which is no place in a text of "
                f"{size} {self._unit.noun}"
            )
        return first, last

    def _code_point(self, offset: int) -> int | None:
        """None for an offset within a character; beyond the text the offset itself."""
        if not self.differs or not 0 <= offset <= self._starts[-1]:
            return offset
        index = bisect_left(self._starts, offset)
        return index if self._starts[index] == offset else None


class DocumentBuilder:
    """Builds a document from values that may be anything.

    Args:
        place: Where the document begins.
        text: Its text.
        name: Its id, a string or whole number.
        unit: The unit of the file's offsets. None: nobody has named it. Then offsets are code points, and a
            span that makes sense in UTF-16 units alone is a problem.
    """

    def __init__(
        self,
        place: Place,
        text: object,
        name: object = "",
        unit: OffsetUnit | None = OffsetUnit.CODE_POINTS,
    ) -> None:
        self._place = place
        self._problems: list[Problem] = []
        self._entities: list[GoldEntity] = []
        self._places: list[Place] = []
        self._covered = 0
        self._text = self._checked_text(text)
        self._name = self._checked_name(name)
        self._offsets = OffsetTable(self._text, unit or OffsetUnit.CODE_POINTS)
        other = OffsetTable(self._text, OffsetUnit.UTF_16)
        self._utf_16 = other if unit is None and other.differs else None

    def add_problem(self, reason: str, place: Place | None = None) -> None:
        """Note a reason why the document is unusable."""
        self._problems.append(Problem(place or self._place, reason))

    def add_entity(
        self, start: object, end: object, label: object, mention: object = None, place: Place | None = None
    ) -> None:
        """Mark a span given in the file's unit, which must read ``mention`` unless that is None."""
        if not self._text:
            return
        try:
            span = self._span(start, end, mention)
        except ValueError as error:
            self.add_problem(str(error), place)
        else:
            self.add_span(span, label, place)

    def add_span(self, span: tuple[int, int], label: object, place: Place | None = None) -> None:
        """Mark a span of the text in code points."""
        start, end = span
        self._covered += end - start
        if self._covered > _COVERED_CHARACTERS + _COVERED_TIMES * len(self._text):
            self.add_problem(
                f"entities overlap too much: up to here they hold {self._covered} characters, of a text of "
                f"{len(self._text)}",
                place,
            )
        elif isinstance(label, str) and label and is_unicode(label):
            entity = GoldEntity(start=start, end=end, text=self._text[start:end], label=label)
            self._entities.append(entity)
            self._places.append(place or self._place)
        else:
            self.add_problem(f"{quoted(label)} is no label: a label is a string that is not empty", place)

    def bounded(self, items: Iterable[_T]) -> Iterator[_T]:
        """The items, until the document has too many problems to look for more."""
        for item in items:
            if len(self._problems) >= _MOST_PROBLEMS:
                self.add_problem("there may be more problems in this document")
                return
            yield item

    def build(self, labels: tuple[str, ...] | None = None) -> ParsedDocument:
        """The document, or its problems.

        Args:
            labels: Those that its text is annotated with, where it names them.
        """
        if self._problems:
            return ParsedDocument(self._place, None, tuple(self._problems))
        document = AnnotatedDocument(
            id=self._name, text=self._text, entities=tuple(self._entities), labels=labels
        )
        return ParsedDocument(self._place, document, entity_places=tuple(self._places))

    def _checked_text(self, text: object) -> str:
        if isinstance(text, str) and text and is_unicode(text):
            return text
        self.add_problem(
            "the text is empty" if text == "" else f"{quoted(text)} is no text: a text is a Unicode string"
        )
        return ""

    def _checked_name(self, name: object) -> str:
        if type(name) is int:
            return str(name)
        if isinstance(name, str) and is_unicode(name):
            return name
        self.add_problem(f"{quoted(name)} is no id: an id is a string or a whole number")
        return ""

    def _span(self, start: object, end: object, mention: object) -> tuple[int, int]:
        try:
            span = self._offsets.span(start, end, mention)
        except ValueError as error:
            other = self._in_utf_16(start, end, mention)
            if other is None:
                raise
            raise ValueError(f"{error}; in UTF-16 units it is {other}: --offsets utf-16") from error
        if mention is None and _is_ragged(self._text, *span):
            other = self._in_utf_16(start, end, mention)
            if other is not None:
                raise ValueError(
                    f"an entity is marked at {start}-{end}, which is {_excerpt(self._text, *span)} in code "
                    f"points and {other} in UTF-16 units: name the unit (--offsets)"
                )
        return span

    def _in_utf_16(self, start: object, end: object, mention: object) -> str | None:
        """The text of a span in UTF-16 units, where nobody has named the unit and the span makes sense so."""
        if self._utf_16 is None:
            return None
        try:
            span = self._utf_16.span(start, end, mention)
        except ValueError:
            return None
        return None if mention is None and _is_ragged(self._text, *span) else _excerpt(self._text, *span)


def reads(text: str, start: int, end: int, mention: object) -> bool:
    """Tell whether ``text[start:end]`` is a mention, in time that does not grow with the span."""
    return (
        isinstance(mention, str)
        and start >= 0
        and end - start == len(mention)
        and text.startswith(mention, start)
    )


def quoted(value: object) -> str:
    """A value as JSON, on one line, cut when long, and printable whatever it holds."""
    whole = value[: _LONGEST_QUOTE + 1] if isinstance(value, str) else value
    try:
        shown = _as_json(whole).encode(errors="backslashreplace").decode()
    except RecursionError:
        return "a value that is nested too deeply"
    return shown if len(shown) <= _LONGEST_QUOTE else f"{shown[:_LONGEST_QUOTE]} ..."


def is_unicode(text: str) -> bool:
    """Tell whether UTF-8 can encode a text, which it cannot where JSON escapes half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _excerpt(text: str, start: int, end: int) -> str:
    first = max(start, 0)
    return quoted(text[first : max(0, min(end, first + _LONGEST_QUOTE + 1))])


def _is_ragged(text: str, start: int, end: int) -> bool:
    """Tell whether a span begins or ends with white space or within a word."""
    return text[start].isspace() or text[end - 1].isspace() or _in_word(text, start) or _in_word(text, end)


def _in_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


class Nested(StrEnum):
    """Ways to treat entities that overlap."""

    KEEP = "keep"  # a document whose target format cannot hold them is bad
    OUTERMOST = "outermost"  # an entity within another is left out
    REFUSE = "refuse"  # a document with overlapping entities is bad


class Discontinuous(StrEnum):
    """Ways to treat an entity in several pieces."""

    REFUSE = "refuse"  # its document is bad
    JOIN = "join"  # it reaches from its first piece to its last, with the text between them
    FIRST = "first"  # it is its first piece


@dataclass(frozen=True, slots=True)
class Options:
    """Choices that formats leave open; each format heeds those that concern it.

    Attributes:
        cjk: In formats of tokens, a Chinese or Japanese character is a token of its own, and no space stands
            beside it in a text that is put together from tokens.
        split_punctuation: In formats of tokens, punctuation at the edge of a word is a token of its own.
        discontinuous: Of brat, the one format that has entities in several pieces.
        offsets: Unit of the offsets that are read, in formats of offsets. None: code points, where spans that
            fit UTF-16 units alone are problems.
        columns: Columns that are read, in formats of columns, counted from 1: the token's and then the
            tags'. None: the first and the last.
    """

    cjk: bool = False
    split_punctuation: bool = False
    discontinuous: Discontinuous = Discontinuous.REFUSE
    offsets: OffsetUnit | None = None
    columns: tuple[int, ...] | None = None


DEFAULTS = Options()
