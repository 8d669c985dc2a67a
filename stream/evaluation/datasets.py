"""Annotated texts from JSON Lines, ``{"id", "text", "entities": [{"start", "end", "text", "label"}]}``."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream.errors import ConfigurationError

_GZIP_MAGIC = b"\x1f\x8b"


class GoldEntity(BaseModel):
    """An annotated entity; offsets in code points, ``end`` exclusive."""

    model_config = ConfigDict(frozen=True)

    start: int = Field(ge=0)
    end: int
    text: str = Field(min_length=1)
    label: str = Field(min_length=1)


class AnnotatedDocument(BaseModel):
    """A text with its entities; ``text[start:end]`` equals the text of each."""

    model_config = ConfigDict(frozen=True)

    id: str = ""
    text: str = Field(min_length=1)
    entities: tuple[GoldEntity, ...]


def read_documents(file: Path) -> Iterator[AnnotatedDocument]:
    """Documents of a JSONL or JSONL.gz file, read as they are asked for; blank lines are skipped.

    Raises:
        ConfigurationError: The file cannot be read, or a line is not an annotated document; names the line.
    """
    number = 0
    try:
        with _open(file) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _document(file, number, line)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror or error}") from error
    except EOFError as error:
        raise ConfigurationError(f"{file} ends in the middle, after line {number}: {error}") from error


def label_inventory(documents: Iterable[AnnotatedDocument]) -> list[str]:
    """The labels that documents are annotated with, in the order of first use."""
    return list(dict.fromkeys(entity.label for document in documents for entity in document.entities))


def _open(file: Path) -> BinaryIO:
    with file.open("rb") as start:
        compressed = start.read(2) == _GZIP_MAGIC
    return cast("BinaryIO", gzip.open(file, "rb")) if compressed else file.open("rb")


def _document(file: Path, number: int, line: bytes) -> AnnotatedDocument:
    try:
        document = AnnotatedDocument.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        problem = f"{field}: {first['msg']}" if field else first["msg"]
        raise ConfigurationError(f"{file}, line {number}, is not an annotated document: {problem}") from error
    for entity in document.entities:
        found = document.text[entity.start : entity.end]
        if found != entity.text:
            raise ConfigurationError(
                f"{file}, line {number}: entity {json.dumps(entity.text, ensure_ascii=False)} is marked at "
                f"{entity.start}-{entity.end}, where the text has {json.dumps(found, ensure_ascii=False)} "
                "(offsets are code points)"
            )
    return document
