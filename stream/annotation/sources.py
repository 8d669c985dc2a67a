"""Texts of files: JSON Lines, columns of CSV or Parquet, plain text."""

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from stream.contract.pointers import PointerFindsNothing, json_type, resolve
from stream.corpora.files import NotJson, UnreadableFile, bare_name, numbered_lines, read_text, rows_of
from stream.corpora.parsing import Place
from stream.errors import ConfigurationError

_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_FIELD = 1 << 30
_BATCH = 1000
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class SourceText:
    """A text of a file, or the reason why there is none.

    Attributes:
        place: Where it stands.
        id: Its document's.
        field: The column or JSON Pointer it was read from; None where only one is read.
        text: Empty where there is a problem.
        problem: Empty where there is a text.
    """

    place: Place
    id: str
    field: str | None
    text: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Choice of texts in a file of rows.

    Attributes:
        texts: Columns, or JSON Pointers in JSON Lines; none: ``text``, ``/text``.
        id: The same of the document id; None: ``id``, ``/id`` where there is one, else file name and row.
        whole_files: Make one document of a file of plain text, and not one of each line.
    """

    texts: tuple[str, ...] = ()
    id: str | None = None
    whole_files: bool = False


def texts_of(file: Path, selection: Selection) -> Iterator[SourceText]:
    """Texts of a file in their order, read as they are asked for; blank ones are left out.

    Raises:
        ConfigurationError: The file cannot be read, or lacks a column.
    """
    for one in _READERS.get(_ending(file), _lines)(file, selection):
        if one.problem or one.text.strip():
            yield one


def _ending(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).suffix.lower()


def _json_lines(file: Path, selection: Selection) -> Iterator[SourceText]:
    pointers = selection.texts or ("/text",)
    for number, (place, value) in enumerate(rows_of(file), start=1):
        if isinstance(value, NotJson):
            yield SourceText(place, f"{bare_name(file)}-{number}", None, "", value.reason)
            continue
        own_id = _pointed_at(value, selection.id or "/id")
        name = str(own_id) if isinstance(own_id, str | int) else f"{bare_name(file)}-{number}"
        for pointer in pointers:
            field = pointer if len(pointers) > 1 else None
            try:
                found = resolve(value, pointer)
            except PointerFindsNothing as error:
                yield SourceText(place, name, field, "", str(error))
                continue
            if found is None or isinstance(found, str):
                yield SourceText(place, name, field, found or "")
            else:
                yield SourceText(place, name, field, "", f"{pointer} is {json_type(found)}, not a string")


def _pointed_at(value: Any, pointer: str) -> Any:
    try:
        return resolve(value, pointer)
    except PointerFindsNothing:
        return None


def _csv(file: Path, selection: Selection) -> Iterator[SourceText]:
    csv.field_size_limit(_LARGEST_FIELD)
    columns = selection.texts or ("text",)
    with _opened(file) as stream:
        header = stream.readline()
        delimiter = next((each for each in _DELIMITERS if columns[0] in _cells(header, each)), ",")
        names = _cells(header, delimiter)
        _check_columns(file, columns, names)
        reader = csv.DictReader(stream, names, delimiter=delimiter)
        yield from _rows(file, reader, columns, selection.id, lambda: Place(file, reader.line_num + 1))


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    try:
        with file.open("rb") as raw:
            zipped = raw.peek(2).startswith(_GZIP_MAGIC)
            content: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
            with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as stream:
                yield stream
    except OSError as error:
        raise UnreadableFile(Place(file), f"cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, EOFError, csv.Error) as error:
        raise UnreadableFile(Place(file), f"cannot be read: {error}") from error


def _parquet(file: Path, selection: Selection) -> Iterator[SourceText]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - optional
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{file} needs pyarrow, which is not installed: pip install 'padellm-stream[parquet]'"
        ) from error
    columns = selection.texts or ("text",)
    try:
        with ParquetFile(file) as table:
            names = table.schema_arrow.names
            _check_columns(file, columns, names)
            id_column = selection.id or ("id" if "id" in names else None)
            wanted = [*columns, *([id_column] if id_column else [])]
            _check_columns(file, wanted, names)
            rows = (row for batch in table.iter_batches(_BATCH, columns=wanted) for row in batch.to_pylist())
            numbers = iter(range(1, table.metadata.num_rows + 1))
            yield from _rows(file, rows, columns, id_column, lambda: Place(file, next(numbers), "row"))
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(Place(file), f"cannot be read: {error}") from error


def _check_columns(file: Path, wanted: Sequence[str], names: Sequence[str]) -> None:
    for column in wanted:
        if column not in names:
            raise ConfigurationError(
                f"{file} has no column {column}; it has {', '.join(map(str, names))} (--text, --id)"
            )


def _rows(
    file: Path,
    rows: Iterable[dict[Any, Any]],
    columns: Sequence[str],
    id_column: str | None,
    place: Callable[[], Place],
) -> Iterator[SourceText]:
    for number, row in enumerate(rows, start=1):
        at = place()
        own_id = row.get(id_column or "id")
        name = str(own_id) if own_id not in {None, ""} else f"{bare_name(file)}-{number}"
        for column in columns:
            field = column if len(columns) > 1 else None
            found = row.get(column)
            if found is None or isinstance(found, str):
                yield SourceText(at, name, field, found or "")
            else:
                kind = type(found).__name__
                yield SourceText(at, name, field, "", f"column {column} holds {kind}, not a string")


def _lines(file: Path, selection: Selection) -> Iterator[SourceText]:
    if selection.whole_files:
        yield SourceText(Place(file), file.name, None, read_text(file))
        return
    for number, line in numbered_lines(file):
        name = f"{bare_name(file)}-{number}"
        try:
            yield SourceText(Place(file, number), name, None, line.rstrip(b"\r\n").decode())
        except UnicodeDecodeError as error:
            yield SourceText(Place(file, number), name, None, "", f"not UTF-8 text: {error.reason}")


_READERS: dict[str, Callable[[Path, Selection], Iterator[SourceText]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
