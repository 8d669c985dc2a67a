"""Files of text, plain or gzipped."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.errors import ConfigurationError

BYTE_ORDER_MARK = "\ufeff"  # some programs begin a file with it

_GZIP_MAGIC = b"\x1f\x8b"


def numbered_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1, read as they are asked for; ended by a line feed and nothing else.

    Raises:
        ConfigurationError: The file cannot be read; names it.
    """
    with _readable(file), file.open("rb") as raw:
        compressed = raw.peek(2).startswith(_GZIP_MAGIC)
        lines = gzip.GzipFile(fileobj=raw) if compressed else raw
        for number, line in enumerate(lines, start=1):
            yield number, line.removeprefix(BYTE_ORDER_MARK.encode()) if number == 1 else line


def read_text(file: Path) -> str:
    """A whole file of UTF-8, every character as it is.

    Raises:
        ConfigurationError: The file cannot be read or is not UTF-8; names it, and the line.
    """
    content = read_bytes(file)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{file}, line {line}: not UTF-8 text: {error.reason}") from error


def read_bytes(file: Path) -> bytes:
    """A whole file, unzipped if it is gzipped.

    Raises:
        ConfigurationError: The file cannot be read; names it.
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
        raise ConfigurationError(f"{file} cannot be read: {error.strerror or error}") from error
    except EOFError as error:
        raise ConfigurationError(f"{file} ends in the middle: {error}") from error
    except zlib.error as error:
        raise ConfigurationError(f"{file} is a broken archive: {error}") from error
