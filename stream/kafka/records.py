"""Documents of a file or of standard input as Kafka records: JSON Lines, a JSON array or plain text."""

import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from stream.contract.messages import Document
from stream.corpora.files import BYTE_ORDER_MARK
from stream.errors import ConfigurationError

_GZIP_MAGIC = b"\x1f\x8b"
_ARRAY = re.compile(rb'\[\s*(\]?\s*$|[{"])')  # and not "[1] a footnote" or "[ ] buy milk"
_DOCUMENTS = TypeAdapter(list[Document])
_EXAMPLE = json.dumps({"id": "1", "text": "..."})
_RAW = "--raw sends lines as they are"


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
    """Records of a file, each as soon as its line is complete.

    Lines end with a line feed, or a carriage return and a line feed. A byte order mark before a line is
    dropped, and blank lines are skipped.

    Args:
        file: Path, or ``-`` for standard input. Its first line decides: one that opens a JSON object makes it
            JSON Lines, one that opens an array of objects a JSON array, any other plain text, where a line
            becomes a document with the id ``<name>-<line>``.
        raw: Take every line's bytes as they are, whatever they hold.

    Raises:
        ConfigurationError: The file cannot be read, or a line is not a document; names the line.
    """
    name = "stdin" if file == "-" else Path(file).name
    with _lines(file) as lines:
        if raw:
            yield from (OutgoingRecord(None, line, "") for line in lines)
            return
        for document in _documents(lines, name):
            value = document.model_dump_json(exclude_defaults=True).encode()
            yield OutgoingRecord(document.id.encode() or None, value, document.text)


def count_records(file: str, *, raw: bool = False) -> int | None:
    """Count a file's records; a bad line is found before anything is sent.

    None for what can be read only once: standard input, a pipe.

    Raises:
        ConfigurationError: As ``read_records``.
    """
    if file == "-" or (Path(file).exists() and not Path(file).is_file()):
        return None
    return sum(1 for _ in read_records(file, raw=raw))


@contextmanager
def _lines(file: str) -> Iterator[Iterator[bytes]]:
    """Lines without their ends, read one by one."""
    try:
        with ExitStack() as stack:
            raw = _stdin() if file == "-" else stack.enter_context(Path(file).open("rb", 0))
            stream = _PromptReader(raw)
            # Closing the buffer would close standard input too; a later reader may want it.
            stack.callback(stream.detach)
            if stream.peek(2)[:2] == _GZIP_MAGIC:
                unpacked: BinaryIO = stack.enter_context(gzip.open(stream))  # type: ignore[assignment]  # reads as one
            else:
                unpacked = stream
            yield (line.removesuffix(b"\n").removesuffix(b"\r") for line in unpacked)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{file} cannot be read: {reason}") from error


class _PromptReader(io.BufferedReader):
    """A buffer that returns the bytes at hand; gzip's reader would else wait until a pipe fills a block."""

    def read(self, size: int | None = -1) -> bytes:
        return self.read1(-1 if size is None else size)


def _stdin() -> Any:
    """Standard input without its buffer.

    A thread may still block in a read when the program ends; in ``sys.stdin.buffer`` Python would abort.
    """
    return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)


def _documents(lines: Iterable[bytes], name: str) -> Iterator[Document]:
    mark = BYTE_ORDER_MARK.encode()
    numbered = ((number, line.removeprefix(mark)) for number, line in enumerate(lines, start=1))
    filled = ((number, line) for number, line in numbered if line.strip())
    first = next(filled, None)
    if first is None:
        return
    all_lines, opening = chain((first,), filled), first[1].lstrip()
    if _ARRAY.match(opening):
        yield from _array(b"\n".join(line for _, line in all_lines), name)
        return
    read = _document if opening.startswith(b"{") else _plain
    for number, line in all_lines:
        yield read(line, name, number)


def _array(content: bytes, name: str) -> list[Document]:
    try:
        return _DOCUMENTS.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = f"{name}, item {int(first['loc'][0]) + 1}," if first["loc"] else f"{name}, a JSON array,"
        raise _refusal(place, first, first["loc"][1:]) from error


def _document(line: bytes, name: str, number: int) -> Document:
    try:
        return Document.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _refusal(f"{name}, line {number},", first, first["loc"]) from error


def _refusal(place: str, error: ErrorDetails, field: tuple[int | str, ...]) -> ConfigurationError:
    path = ".".join(map(str, field))
    return ConfigurationError(
        f"{place} is not a document: {path + ': ' if path else ''}{error['msg']}. "
        f"A document is a JSON object such as {_EXAMPLE}; {_RAW}"
    )


def _plain(line: bytes, name: str, number: int) -> Document:
    try:
        return Document(id=f"{name}-{number}", text=line.decode())
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{name}, line {number}, is not UTF-8 (byte {error.start + 1}); {_RAW}"
        ) from error
