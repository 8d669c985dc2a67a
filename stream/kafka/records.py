"""Documents in a file, one a line: JSON Lines of the document schema, or plain text; gzip is understood."""

import gzip
import io
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from stream.contract.messages import Document
from stream.errors import ConfigurationError

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A Kafka record to produce.

    Attributes:
        key: The document id, or None where there is none.
        value: The document as JSON, or in raw mode the line as it was.
        text: The document's text; empty in raw mode.
    """

    key: bytes | None
    value: bytes
    text: str


def read_records(file: str, *, raw: bool = False) -> Iterator[OutgoingRecord]:
    """Records of a file, read as they are asked for; blank lines are skipped.

    Args:
        file: Path, or ``-`` for standard input. Its first line decides: one that opens a JSON object makes it
            JSON Lines, any other plain text, where a line becomes a document with the id ``<name>-<line>``.
        raw: Take every line's bytes as they are, whatever they hold.

    Raises:
        ConfigurationError: The file cannot be read, or a line is not a document; names the line.
    """
    name = "stdin" if file == "-" else Path(file).name
    as_json: bool | None = None
    with _lines(file) as lines:
        for number, line in enumerate(lines, start=1):
            content = line.rstrip(b"\r\n")
            if raw:
                yield OutgoingRecord(None, content, "")
                continue
            if not content.strip():
                continue
            if as_json is None:
                as_json = content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
            document = _document(content, name, number) if as_json else _plain(content, name, number)
            value = document.model_dump_json(exclude_defaults=True).encode()
            yield OutgoingRecord(document.id.encode() or None, value, document.text)


def count_records(file: str, *, raw: bool = False) -> int | None:
    """How many records a file has; reading all of it, this finds a bad line before anything is sent.

    None for what can be read only once: standard input, a pipe.

    Raises:
        ConfigurationError: As ``read_records``.
    """
    if file == "-" or (Path(file).exists() and not Path(file).is_file()):
        return None
    return sum(1 for _ in read_records(file, raw=raw))


@contextmanager
def _lines(file: str) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        try:
            stream: BinaryIO = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
        buffered = io.BufferedReader(stream)  # type: ignore[type-var]  # typeshed wants RawIOBase; any BinaryIO works
        if buffered.peek(2)[:2] == _GZIP_MAGIC:
            yield stack.enter_context(gzip.open(buffered))  # type: ignore[misc]  # GzipFile reads as a BinaryIO
        else:
            yield buffered


def _document(line: bytes, name: str, number: int) -> Document:
    try:
        return Document.model_validate_json(line.removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ConfigurationError(
            f"{name}, line {number}, is not a document: {field + ': ' if field else ''}{first['msg']}. "
            f"A document is a JSON object such as {json.dumps({'id': '1', 'text': '...'})}; "
            "--raw sends lines as they are"
        ) from error


def _plain(line: bytes, name: str, number: int) -> Document:
    try:
        return Document(id=f"{name}-{number}", text=line.decode())
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{name}, line {number}, is not UTF-8 (byte {error.start + 1}); --raw sends lines as they are"
        ) from error
