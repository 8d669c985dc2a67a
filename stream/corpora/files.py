"""Corpus files as text, as lines, and as rows of JSON."""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.corpora.parsing import Place, is_unicode
from stream.errors import ConfigurationError

BYTE_ORDER_MARK = "\ufeff"
"""The character that some programs begin a file with; it is no part of a text."""

_GZIP_MAGIC = b"\x1f\x8b"


class UnreadableFile(ConfigurationError):  # noqa: N818 - names what it is
    """A file that cannot be read, with the place and the reason apart."""

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(f"{place} {reason}" if place.line is None else f"{place}: {reason}")
        self.place = place
        self.reason = reason


def numbered_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1, read as they are asked for; ended by a line feed and nothing else.

    A byte order mark at the beginning is left out.

    Raises:
        UnreadableFile: The file cannot be read.
    """
    with _readable(file), file.open("rb") as raw:
        compressed = raw.peek(2).startswith(_GZIP_MAGIC)
        lines = gzip.GzipFile(fileobj=raw) if compressed else raw
        for number, line in enumerate(lines, start=1):
            yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def read_text(file: Path, *, mark: bool = False) -> str:
    """A whole file of UTF-8, every character as it is.

    Args:
        file: The file.
        mark: Keep a byte order mark at the beginning.

    Raises:
        UnreadableFile: The file cannot be read or is not UTF-8.
    """
    content = read_bytes(file)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(Place(file, line), f"not UTF-8 text: {error.reason}") from error
    return text if mark else text.removeprefix(BYTE_ORDER_MARK)


def read_bytes(file: Path) -> bytes:
    """A whole file, unzipped if it is gzipped.

    Raises:
        UnreadableFile: The file cannot be read.
    """
    with _readable(file):
        content = file.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content


def write_text(file: Path, content: str) -> None:
    """Write a whole file of UTF-8, gzipped if its name ends in ``.gz``.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    write_bytes(file, content.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Write a whole file, gzipped if its name ends in ``.gz``; the same content gives the same bytes.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    if file.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    try:
        file.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror or error}") from error


def bare_name(file: Path) -> str:
    """A file's name without ``.gz`` and its ending."""
    return Path(file.name.removesuffix(".gz")).stem


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableFile(Place(file), f"cannot be read: {error.strerror or error}") from error
    except EOFError as error:
        raise UnreadableFile(Place(file), f"ends in the middle: {error}") from error
    except zlib.error as error:
        raise UnreadableFile(Place(file), f"is a broken archive: {error}") from error


_BLANK = " \t\r\n"


@dataclass(frozen=True, slots=True)
class NotJson:
    """The place-holder of a line that is not JSON."""

    reason: str


def lines_of(file: Path) -> Iterator[tuple[Place, Any]]:
    """The value of every line that is not blank, ``NotJson`` where it has none.

    Raises:
        UnreadableFile: The file cannot be read.
    """
    for number, line in numbered_lines(file):
        if line.strip():
            yield Place(file, number), _value(line)


def rows_of(file: Path) -> Iterator[tuple[Place, Any]]:
    """The items of an array, or of a file that does not begin with one, ``lines_of``.

    Raises:
        UnreadableFile: The file cannot be read, or its array is not JSON.
    """
    first = next((line.lstrip() for _, line in numbered_lines(file) if line.strip()), b"")
    if not first.startswith(b"["):
        return lines_of(file)
    # Bytes that are not UTF-8 are the fault of their item alone.
    return _items(file, read_bytes(file).decode(errors="surrogateescape").removeprefix(BYTE_ORDER_MARK))


def _value(line: bytes) -> Any:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        return NotJson(_reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON at column {error.colno}: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text: {error.reason}"
    return "nested too deeply" if isinstance(error, RecursionError) else f"not JSON: {error}"


def _items(file: Path, text: str) -> Iterator[tuple[Place, Any]]:
    """Items one by one, so that each has its line; a comma too many after the last is let pass."""
    decoder = json.JSONDecoder()
    at = _after_blanks(text, _after_blanks(text, 0) + 1)
    line, counted = 1, 0
    while not text.startswith("]", at):
        line, counted = line + text.count("\n", counted, at), at
        place = Place(file, line)
        try:
            item, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise UnreadableFile(Place(file, error.lineno), _reason(error)) from error
        except (ValueError, RecursionError) as error:
            raise UnreadableFile(place, _reason(error)) from error
        yield place, item if is_unicode(text[at:end]) else NotJson("not UTF-8 text")
        at = end
        at = _after_blanks(text, at)
        if text.startswith(",", at):
            at = _after_blanks(text, at + 1)
        elif not text.startswith("]", at):
            raise _broken(file, text, at, "the array neither goes on nor ends")
    if text[at + 1 :].strip(_BLANK):
        raise _broken(file, text, at, "something follows the array")


def _broken(file: Path, text: str, at: int, reason: str) -> UnreadableFile:
    return UnreadableFile(Place(file, text.count("\n", 0, at) + 1), f"not JSON: {reason}")


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at
