"""What a system predicted, from JSON Lines or from the result files of PaDeLLM-NER's authors."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from stream.errors import ConfigurationError


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


class _Mention(BaseModel):
    label: str = Field(min_length=1)
    text: str
    score: float = 1.0
    start: int | None = Field(default=None, ge=0)
    end: int | None = None


class _Line(BaseModel):
    id: str = Field(default="", coerce_numbers_to_str=True)
    text: str = ""
    entities: list[_Mention]


class _AuthorsResult(BaseModel):
    texts: str
    pred: dict[str, list[tuple[str, float]]]


def read_predictions(path: Path) -> list[PredictedDocument]:
    """Predictions in the order of a file of one of two forms.

    - An object a line, ``{"id", "text", "entities": [{"text", "label", "score", "start", "end"}]}``. Score
      and offsets may be left out, and ``id`` or ``text``.
    - The authors' result files, an array of ``{"texts", "pred": {label: [[mention, probability], ...]}}``.

    Raises:
        ConfigurationError: The file cannot be read or a row is no prediction; names file, line and reason.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text: {error}") from error
    rows = _results(path, content) if content.lstrip().startswith("[") else _lines(path, content)
    documents = list(rows)
    if not documents:
        raise ConfigurationError(f"{path} holds no predictions")
    return documents


def _lines(path: Path, content: str) -> Iterator[PredictedDocument]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = _Line.model_validate_json(line)
        except ValidationError as error:
            raise ConfigurationError(f"{place}: {_reason(error)}") from error
        if not row.id and not row.text:
            raise ConfigurationError(f"{place}: neither an id nor a text says what document this is")
        mentions = tuple(PredictedMention(**mention.model_dump()) for mention in row.entities)
        yield PredictedDocument(row.id, row.text, mentions)


def _results(path: Path, content: str) -> Iterator[PredictedDocument]:
    try:
        items: list[Any] = json.loads(content)
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    for number, item in enumerate(items, start=1):
        try:
            row = _AuthorsResult.model_validate(item)
        except ValidationError as error:
            raise ConfigurationError(f"{path}, item {number}: {_reason(error)}") from error
        found = [(label, mention) for label, mentions in row.pred.items() for mention in mentions]
        mentions = tuple(PredictedMention(label, text, score) for label, (text, score) in found)
        yield PredictedDocument("", row.texts, mentions)


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    return f"{field}: {first['msg']}" if field else str(first["msg"])
