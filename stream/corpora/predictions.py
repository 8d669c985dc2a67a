"""Predictions of a system: mentions with label and score, from JSON Lines or the authors' result files."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stream.corpora.files import NotJson, rows_of
from stream.corpora.parsing import OffsetTable, Place, is_unicode, quoted
from stream.errors import ConfigurationError
from stream.offsets import OffsetUnit

_ENTITY_LISTS = ("entities", "predictions")


@dataclass(frozen=True, slots=True)
class PredictedMention:
    """A mention that a system reports.

    Attributes:
        label: As the file spells it.
        text: The mention, which need not be in the document's text.
        score: Ranks mentions, usually a probability; 1 where the file has none.
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
    """A system's answer to one text; ``id`` or ``text`` may be empty where the file leaves it out."""

    id: str
    text: str
    mentions: tuple[PredictedMention, ...]


class _BadRow(Exception):  # noqa: N818 - never leaves this module
    """A row that is no prediction; the message is the reason."""


class _Events:
    """The events of one document, which the service may publish in parts and more than once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Place, PredictedDocument]] = {}
        self._answers: dict[str, list[PredictedMention]] = {}

    def add(self, place: Place, event_id: str, predicted: PredictedDocument, answer: str) -> None:
        """Add an event, of which a document's ``answer`` may have several; a repeat changes nothing.

        Raises:
            _BadRow: It contradicts the event of this id.
        """
        first, known = self._known.setdefault(event_id, (place, predicted))
        if known is predicted:
            self._answers.setdefault(answer, []).extend(predicted.mentions)
        elif _spans(known.mentions) != _spans(predicted.mentions):
            raise _BadRow(f"event {quoted(event_id)} has other entities than at {first}")

    def merged(self) -> PredictedDocument:
        """The document's one answer.

        Raises:
            _BadRow: There are several that differ.
        """
        (_, document), *_ = self._known.values()
        answer, *others = self._answers.values()
        if any(_spans(other) != _spans(answer) for other in others):
            raise _BadRow(
                f"document {quoted(document.id)} has {1 + len(others)} answers that differ (events "
                f"{', '.join(map(quoted, self._answers))}): keep the events of one"
            )
        return replace(document, mentions=tuple(answer))


def _spans(mentions: Iterable[PredictedMention]) -> set[tuple[str, str, int | None, int | None]]:
    """Mentions without their scores, whose last digits differ when an answer is computed again."""
    return {(mention.label, mention.text, mention.start, mention.end) for mention in mentions}


def read_predictions(path: Path) -> list[PredictedDocument]:
    """Predictions in the order of a file, which is plain or gzipped, and of one of two forms.

    - An object a line, ``{"id", "text", "entities": [{"text", "label", "score", "start", "end"}]}``. Score
      and offsets may be left out, and ``id`` or ``text``. ``predictions`` may stand for ``entities`` and
      ``document_id`` for ``id``, so that entity events are understood. The events of one document are one
      prediction, and an event that comes again counts once.
    - The authors' result files, an array of ``{"id", "texts", "pred": {label: [[mention, score], ...]}}``.
      Gold answers (``gt``), latencies and scores of documents are not read.

    Raises:
        ConfigurationError: The file cannot be read, a row is no prediction, or events of one document
            contradict each other; names file, line and reason.
    """
    predictions: list[PredictedDocument | _Events] = []
    of_document: dict[str, _Events] = {}
    place = Place(path)
    try:
        for place, row in rows_of(path):
            predicted = _predicted(row)
            event_id = _text(row, "event_id")
            if not event_id:
                predictions.append(predicted)
                continue
            name = predicted.id or predicted.text
            if name not in of_document:
                of_document[name] = _Events()
                predictions.append(of_document[name])
            # The parts of an answer share their ids' beginning. Without a source the ids may be anybody's.
            answer = event_id.partition("/")[0] if "source" in row else ""
            of_document[name].add(place, event_id, predicted, answer)
        place = Place(path)
        merged = [each.merged() if isinstance(each, _Events) else each for each in predictions]
    except _BadRow as bad:
        raise ConfigurationError(f"{place}: {bad}") from bad
    if not merged:
        raise ConfigurationError(f"{path} holds no predictions")
    return merged


def _predicted(row: Any) -> PredictedDocument:
    if isinstance(row, NotJson):
        raise _BadRow(row.reason)
    if not isinstance(row, dict):
        raise _BadRow(f"{quoted(row)} is no object")
    text = _text(row, "text", "texts")
    name = _text(row, "id", "document_id")
    if not text and not name:
        raise _BadRow("there is neither an id nor a text, so nobody knows which document this is")
    return PredictedDocument(name, text, tuple(_mentions(row, text)))


def _mentions(row: dict[str, Any], text: str) -> Iterator[PredictedMention]:
    if isinstance(row.get("pred"), dict):
        for label, mentions in row["pred"].items():
            if not isinstance(mentions, list):
                raise _BadRow(f"{quoted(mentions)} is no list of [mention, score] for {quoted(label)}")
            yield from (_pair(label, mention) for mention in mentions)
        return
    listed = next((row[name] for name in _ENTITY_LISTS if isinstance(row.get(name), list)), None)
    if listed is None:
        raise _BadRow('there is neither a list of "entities" nor an object "pred" of mentions by label')
    # Where the text is not at hand, offsets cannot be held against it.
    table = OffsetTable(text, OffsetUnit.CODE_POINTS) if text else None
    yield from (_entity(entity, table) for entity in listed)


def _pair(label: str, mention: Any) -> PredictedMention:
    match mention:
        case str():
            return _checked(PredictedMention(label, mention))
        case [str() as found, int() | float() as score]:
            return _checked(PredictedMention(label, found, _score(score)))
    raise _BadRow(f"{quoted(mention)} is no [mention, score] of {quoted(label)}")


def _entity(entity: Any, table: OffsetTable | None) -> PredictedMention:
    if not isinstance(entity, dict):
        raise _BadRow(f"{quoted(entity)} is no entity: an object with text and label is")
    label, mention, start, end = (entity.get(name) for name in ("label", "text", "start", "end"))
    if not isinstance(label, str) or not isinstance(mention, str):
        raise _BadRow(f"{quoted(entity)} is no entity: its text and its label must be strings")
    if (start is None) != (end is None):
        raise _BadRow(f"entity {quoted(mention)} has only one of start and end")
    if start is not None and (type(start) is not int or type(end) is not int):
        raise _BadRow(f"offsets are whole numbers, and {quoted(start)} to {quoted(end)} are not")
    if start is not None and table is not None:
        try:
            table.span(start, end, mention)
        except ValueError as error:
            raise _BadRow(str(error)) from error
    return _checked(PredictedMention(label, mention, _score(entity.get("score")), start, end))


def _score(value: Any) -> float:
    if value is None:
        return 1.0
    try:
        score = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise _BadRow(f"{quoted(value)} is no score: a finite number is")
    return score


def _checked(mention: PredictedMention) -> PredictedMention:
    if mention.label and is_unicode(mention.label) and is_unicode(mention.text):
        return mention
    raise _BadRow(f"{quoted([mention.label, mention.text])} is no label and mention")


def _text(row: dict[str, Any], *names: str) -> str:
    name = next((name for name in names if name in row), "")
    value = row.get(name, "")
    value = str(value) if type(value) is int else value
    if isinstance(value, str) and is_unicode(value):
        return value
    raise _BadRow(f"{name} {quoted(value)} is no string")
