"""The data files of PaDeLLM-NER's authors (github.com/GeorgeLuImmortal/PaDeLLM_NER, ``ner_data``).

One array a line: the text, then ``[first, last, mention, label]`` for every entity. The files number words or
characters, the last of them inclusive or exclusive, each file in its own way; the mentions decide which.
The authors' scripts use mentions and labels alone. The prompts and answers that they trained on were not
published. Their result files are predictions: ``stream/corpora/predictions.py``.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stream.corpora.document import AnnotatedDocument
from stream.corpora.files import NotJson, bare_name, lines_of, write_text
from stream.corpora.parsing import (
    DEFAULTS,
    DocumentBuilder,
    Options,
    ParsedDocument,
    Place,
    quoted,
    reads,
    rejected,
)

_SPAN = 4

# First and last number of a mention, and the places of the words of its text, to its offsets.
_Numbering = Callable[[int, int, Sequence[tuple[int, int]]], tuple[int, int] | None]


def read(file: Path, _options: Options = DEFAULTS) -> Iterator[ParsedDocument]:
    """The document of every line that is not blank, with ids ``NAME-1``, ``NAME-2`` and so on.

    The numbers of a file count whatever makes most of its mentions right. Documents with the other mentions
    have a problem.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    rows = list(lines_of(file))
    counted = _best_numbering(row for _, row in rows)
    for number, (place, row) in enumerate(rows, start=1):
        yield _parsed(place, row, f"{bare_name(file)}-{number}", counted)


def write(documents: Sequence[AnnotatedDocument], file: Path, _options: Options = DEFAULTS) -> None:
    """Write documents with numbers of characters, the last inclusive, as in the authors' Chinese files.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    rows = (
        [document.text, *([e.start, e.end - 1, e.text, e.label] for e in document.entities)]
        for document in documents
    )
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _inclusive_characters(first: int, last: int, _words: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return first, last + 1


def _exclusive_characters(first: int, last: int, _words: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return first, last


def _inclusive_words(first: int, last: int, words: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    return (words[first][0], words[last][1]) if 0 <= first <= last < len(words) else None


def _exclusive_words(first: int, last: int, words: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    return _inclusive_words(first, last - 1, words)


_NUMBERINGS: dict[str, _Numbering] = {
    "characters, the last inclusive": _inclusive_characters,
    "words, the last inclusive": _inclusive_words,
    "words, the last exclusive": _exclusive_words,
    "characters, the last exclusive": _exclusive_characters,
}


def _best_numbering(rows: Iterator[Any]) -> str:
    """The numbering that most mentions agree with; the first of several."""
    right = dict.fromkeys(_NUMBERINGS, 0)
    for row in rows:
        if not _is_row(row):
            continue
        text, words = row[0], _words(row[0])
        for first, last, mention, _ in filter(_is_span, row[1:]):
            for name, numbering in _NUMBERINGS.items():
                offsets = numbering(first, last, words)
                right[name] += offsets is not None and reads(text, *offsets, mention)
    return max(right, key=right.__getitem__)


def _parsed(place: Place, row: Any, name: str, counted: str) -> ParsedDocument:
    if isinstance(row, NotJson):
        hint = " (is it a result file? those are predictions)" if place.line == 1 else ""
        return rejected(place, f"{row.reason}{hint}")
    if not _is_row(row):
        return rejected(place, f"{quoted(row)} is no [text, [first, last, mention, label], ...]")
    builder = DocumentBuilder(place, row[0], name)
    words = _words(row[0])
    for span in builder.bounded(row[1:]):
        _add(builder, span, counted, words)
    return builder.build()


def _add(builder: DocumentBuilder, span: Any, counted: str, words: Sequence[tuple[int, int]]) -> None:
    if not _is_span(span):
        builder.add_problem(f"{quoted(span)} is no [first, last, mention, label]")
        return
    first, last, mention, label = span
    offsets = _NUMBERINGS[counted](first, last, words)
    if offsets is None:
        builder.add_problem(
            f"entity {quoted(mention)} is marked at {first}-{last}, which is no place in the text "
            f"(most numbers of the file count {counted})"
        )
    else:
        builder.add_entity(*offsets, label, mention)


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and bool(row) and isinstance(row[0], str)


def _is_span(span: Any) -> bool:
    return (
        isinstance(span, list)
        and len(span) == _SPAN
        and type(span[0]) is type(span[1]) is int
        and isinstance(span[2], str)
    )


def _words(text: str) -> list[tuple[int, int]]:
    return [word.span() for word in re.finditer(r"\S+", text)]
