"""The rows of JSON files: the items of an array, or a value a line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.corpora.reading import Place
from stream.corpora.text_file import BYTE_ORDER_MARK, numbered_lines, read_text
from stream.errors import ConfigurationError

_BLANK = " \t\r\n"


@dataclass(frozen=True, slots=True)
class NotJson:
    """Stands for a line that is not JSON."""

    reason: str


def lines_of(file: Path) -> Iterator[tuple[Place, Any]]:
    """The value of every line that is not blank, ``NotJson`` where it has none.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    for number, line in numbered_lines(file):
        if line.strip():
            yield Place(file, number), _value(line)


def rows_of(file: Path) -> Iterator[tuple[Place, Any]]:
    """The items of an array, or of a file that does not begin with one, ``lines_of``.

    Raises:
        ConfigurationError: The file cannot be read, or its array is not JSON; names the line.
    """
    first = next((line.lstrip() for _, line in numbered_lines(file) if line.strip()), b"")
    if not first.startswith(b"["):
        return lines_of(file)
    return _items(file, read_text(file).removeprefix(BYTE_ORDER_MARK))


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
            item, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"{Place(file, error.lineno)}: {_reason(error)}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{place}: {_reason(error)}") from error
        yield place, item
        at = _after_blanks(text, at)
        if text.startswith(",", at):
            at = _after_blanks(text, at + 1)
        elif not text.startswith("]", at):
            raise _broken(file, text, at, "the array neither goes on nor ends")
    if text[at + 1 :].strip(_BLANK):
        raise _broken(file, text, at, "something follows the array")


def _broken(file: Path, text: str, at: int, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{Place(file, text.count(chr(10), 0, at) + 1)}: not JSON: {reason}")


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at
