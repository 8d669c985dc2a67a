"""What a system predicted: mentions with label and score, from JSON Lines or the authors' result files."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.corpora.files import NotJson, rows_of
from stream.corpora.reading import Place, is_unicode, offset_problem, quoted
from stream.errors import ConfigurationError

_ENTITY_LISTS = ("entities", "predictions")


@dataclass(frozen=True, slots=True)
class PredictedMention:
    """A mention that a system reports.

    Attributes:
        label: As the file spells it.
        text: The mention, which need not be in the document's text.
        score: What ranks it, usually a probability; 1 where the file has none.
        start: Offset in code points, None where the file has none.
        end: Exclusive.
    """

    label: str
    text: str
    score: float = 1.0
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class PredictedDocument:
    """What a system found in one text; ``id`` or ``text`` may be empty where the file leaves it out."""

    id: str
    text: str
    mentions: tuple[PredictedMention, ...]


class _Wrong(Exception):  # noqa: N818 - never leaves this module
    """What is wrong with a row."""


def read_predictions(path: Path) -> list[PredictedDocument]:
    """Predictions in the order of a file, which is plain or gzipped, and of one of two forms.

    - An object a line, ``{"id", "text", "entities": [{"text", "label", "score", "start", "end"}]}``. Score
      and offsets may be left out, and ``id`` or ``text``. ``predictions`` may stand for ``entities`` and
      ``document_id`` for ``id``, so that entity events are understood.
    - The authors' result files, an array of ``{"id", "texts", "pred": {label: [[mention, score], ...]}}``.
      Gold answers (``gt``), latencies and scores of documents are not read.

    Raises:
        ConfigurationError: The file cannot be read or a row is no prediction; names file, line and reason.
    """
    documents = [_document(place, row) for place, row in rows_of(path)]
    if not documents:
        raise ConfigurationError(f"{path} holds no predictions")
    return documents


def _document(place: Place, row: Any) -> PredictedDocument:
    try:
        return _predicted(row)
    except _Wrong as wrong:
        raise ConfigurationError(f"{place}: {wrong}") from wrong


def _predicted(row: Any) -> PredictedDocument:
    if isinstance(row, NotJson):
        raise _Wrong(row.reason)
    if not isinstance(row, dict):
        raise _Wrong(f"{quoted(row)} is no object")
    text = _text(row, "text", "texts")
    name = _text(row, "id", "document_id")
    if not text and not name:
        raise _Wrong("neither an id nor a text says what document this is")
    return PredictedDocument(name, text, tuple(_mentions(row, text)))


def _mentions(row: dict[str, Any], text: str) -> Iterator[PredictedMention]:
    if isinstance(row.get("pred"), dict):
        for label, mentions in row["pred"].items():
            if not isinstance(mentions, list):
                raise _Wrong(f"{quoted(mentions)} is no list of [mention, score] for {quoted(label)}")
            yield from (_pair(label, mention) for mention in mentions)
        return
    listed = next((row[name] for name in _ENTITY_LISTS if isinstance(row.get(name), list)), None)
    if listed is None:
        raise _Wrong('there is neither a list of "entities" nor an object "pred" of mentions by label')
    yield from (_entity(entity, text) for entity in listed)


def _pair(label: str, mention: Any) -> PredictedMention:
    match mention:
        case str():
            return _checked(PredictedMention(label, mention))
        case [str() as found, int() | float() as score]:
            return _checked(PredictedMention(label, found, _score(score)))
    raise _Wrong(f"{quoted(mention)} is no [mention, score] of {quoted(label)}")


def _entity(entity: Any, text: str) -> PredictedMention:
    if not isinstance(entity, dict):
        raise _Wrong(f"{quoted(entity)} is no entity: an object with text and label is")
    label, mention, start, end = (entity.get(name) for name in ("label", "text", "start", "end"))
    if not isinstance(label, str) or not isinstance(mention, str):
        raise _Wrong(f"{quoted(entity)} is no entity: its text and its label must be strings")
    if (start is None) != (end is None):
        raise _Wrong(f"entity {quoted(mention)} has only one of start and end")
    # Where the text is not at hand, offsets cannot be held against it.
    if start is not None and text and (problem := offset_problem(text, start, end, mention)):
        raise _Wrong(problem)
    if start is not None and (type(start) is not int or type(end) is not int):
        raise _Wrong(f"offsets are whole numbers, and {quoted(start)} to {quoted(end)} are not")
    return _checked(PredictedMention(label, mention, _score(entity.get("score")), start, end))


def _score(value: Any) -> float:
    if value is None:
        return 1.0
    try:
        score = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise _Wrong(f"{quoted(value)} is no score: a finite number is")
    return score


def _checked(mention: PredictedMention) -> PredictedMention:
    if mention.label and is_unicode(mention.label) and is_unicode(mention.text):
        return mention
    raise _Wrong(f"{quoted([mention.label, mention.text])} is no label and mention")


def _text(row: dict[str, Any], *names: str) -> str:
    name = next((name for name in names if name in row), "")
    value = row.get(name, "")
    value = str(value) if type(value) is int else value
    if isinstance(value, str) and is_unicode(value):
        return value
    raise _Wrong(f"{name} {quoted(value)} is no string")
