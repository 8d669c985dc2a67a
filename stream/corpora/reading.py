"""Reading and writing of corpora: options, places in files, and documents skipped."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

from stream.corpora.document import AnnotatedDocument, GoldEntity

_LONGEST_QUOTE = 80


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, counted from 1; without a line the file as a whole.

    A file without lines has documents; ``unit`` says what is counted.
    """

    file: Path
    line: int | None = None
    unit: str = "line"

    def __str__(self) -> str:
        return str(self.file) if self.line is None else f"{self.file}, {self.unit} {self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document cannot be used."""

    place: Place
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Reading:
    """One document of a file.

    Attributes:
        place: Where it begins.
        document: None when there are problems.
        problems: Everything that is wrong with it.
        entity_places: Where each of the document's entities stands; empty where that is ``place``.
    """

    place: Place
    document: AnnotatedDocument | None
    problems: tuple[Problem, ...] = ()
    entity_places: tuple[Place, ...] = ()

    def place_of(self, entity: int) -> Place:
        """Where the document's entity of that index stands."""
        return self.entity_places[entity] if self.entity_places else self.place


class Draft:
    """A document in the making, from values that may be anything.

    Args:
        place: Where the document begins.
        text: Its text.
        name: Its id, a string or whole number.
    """

    def __init__(self, place: Place, text: object, name: object = "") -> None:
        self._place = place
        self._problems: list[Problem] = []
        self._entities: list[GoldEntity] = []
        self._places: list[Place] = []
        self._text = self._checked_text(text)
        self._name = self._checked_name(name)

    def add_problem(self, reason: str, place: Place | None = None) -> None:
        """Note what makes the document unusable."""
        self._problems.append(Problem(place or self._place, reason))

    def add_entity(
        self, start: object, end: object, label: object, mention: object = None, place: Place | None = None
    ) -> None:
        """Mark ``text[start:end]``, which is ``mention`` where the file says so."""
        if not self._text:
            return
        problem = offset_problem(self._text, start, end, mention) or _label_problem(label)
        if problem:
            self.add_problem(problem, place)
            return
        marked = self._text[cast("int", start) : cast("int", end)]
        entity = {"start": start, "end": end, "text": marked, "label": label}
        self._entities.append(GoldEntity.model_validate(entity))
        self._places.append(place or self._place)

    def reading(self) -> Reading:
        """The document, or all of its problems."""
        if self._problems:
            return Reading(self._place, None, tuple(self._problems))
        document = AnnotatedDocument(id=self._name, text=self._text, entities=tuple(self._entities))
        return Reading(self._place, document, entity_places=tuple(self._places))

    def _checked_text(self, text: object) -> str:
        if isinstance(text, str) and text and is_unicode(text):
            return text
        self.add_problem(
            "the text is empty" if text == "" else f"{quoted(text)} is no text: a string of characters is"
        )
        return ""

    def _checked_name(self, name: object) -> str:
        if type(name) is int:
            return str(name)
        if isinstance(name, str) and is_unicode(name):
            return name
        self.add_problem(f"{quoted(name)} is no id: a string or a whole number is")
        return ""


def rejected(place: Place, reason: str) -> Reading:
    """A document of which nothing can be read."""
    return Reading(place, None, (Problem(place, reason),))


def offset_problem(text: str, start: object, end: object, mention: object = None) -> str | None:
    """Why ``text[start:end]`` is no place in the text, or is not ``mention``; None when it is."""
    if type(start) is not int or type(end) is not int:
        return f"offsets are whole numbers, and {quoted(start)} to {quoted(end)} are not"
    found = text[start:end] if start >= 0 else ""
    if mention is not None and found != mention:
        return (
            f"entity {quoted(mention)} is marked at {start}-{end}, where the text has {quoted(found)} "
            "(offsets are code points)"
        )
    if not 0 <= start < end <= len(text):
        return f"an entity is marked at {start}-{end}, which is no place in a text of {len(text)} characters"
    return None


def quoted(value: object) -> str:
    """A value as JSON, on one line, cut when long, and printable whatever it holds."""
    try:
        shown = json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
    except RecursionError:
        return "what is nested too deeply"
    return shown if len(shown) <= _LONGEST_QUOTE else f"{shown[:_LONGEST_QUOTE]} ..."


def is_unicode(text: str) -> bool:
    """Whether a text can be written down: half of a surrogate pair, which JSON can escape, cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _label_problem(label: object) -> str | None:
    if isinstance(label, str) and label and is_unicode(label):
        return None
    return f"{quoted(label)} is no label: a string with characters is"


class Nested(StrEnum):
    """What happens to entities that overlap."""

    KEEP = "keep"  # a document whose target format cannot hold them is bad
    OUTERMOST = "outermost"  # what lies within another entity is left out
    REFUSE = "refuse"  # a document with overlapping entities is bad


class Discontinuous(StrEnum):
    """What becomes of an entity in several pieces."""

    REFUSE = "refuse"  # its document is bad
    JOIN = "join"  # it reaches from its first piece to its last, with what lies between
    FIRST = "first"  # it is its first piece


@dataclass(frozen=True, slots=True)
class Options:
    """How formats are read and written that leave something open.

    Attributes:
        cjk: In formats of tokens, a Chinese or Japanese character is a token of its own, and no space stands
            beside it in a text that is put together from tokens.
        split_punctuation: In formats of tokens, punctuation at the edge of a word is a token of its own.
        discontinuous: Of brat, the one format that has entities in several pieces.
    """

    cjk: bool = False
    split_punctuation: bool = False
    discontinuous: Discontinuous = Discontinuous.REFUSE


DEFAULTS = Options()
