"""brat standoff: a text in ``NAME.txt``, its annotation in ``NAME.ann`` beside it.

Text-bound annotation is read (``T1<tab>Label 0 5<tab>mention``). Relations, events, attributes,
equivalences, normalisations and notes are no entities and are passed over. ``Options.discontinuous`` decides
whether an entity in several pieces (``0 5;8 12``) is refused, joined or cut to its first piece; pieces with
nothing but white space between them are one entity, since brat splits entities at line ends. Offsets may
count a byte order mark, since brat's do.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, unquote

from stream.corpora.document import AnnotatedDocument
from stream.corpora.files import BYTE_ORDER_MARK, UnreadableFile, read_text, write_text
from stream.corpora.parsing import (
    DEFAULTS,
    Discontinuous,
    DocumentBuilder,
    OffsetTable,
    Options,
    ParsedDocument,
    Place,
    quoted,
    rejected,
)
from stream.errors import ConfigurationError
from stream.offsets import OffsetUnit

_TEXT_BOUND = re.compile(r"T\S*\t(\S+) (\d{1,18} \d{1,18}(?:;\d{1,18} \d{1,18})*)\t(.*)", re.DOTALL)
_PASSED_OVER = tuple("REAMN*#")
_ENDINGS = {".txt", ".ann"}
_VISIBLE = re.compile(r"\S")
_LONGEST_NAME = 200

# Offsets, and the number of characters that they count before the text's first.
_Table = tuple[OffsetTable, int]


def read(path: Path, options: Options = DEFAULTS) -> Iterator[ParsedDocument]:
    """The documents of a folder and of those within it, sorted, or of one ``.txt`` or ``.ann``.

    An id is the file's name without its ending, within the folder.

    Raises:
        ConfigurationError: There is nothing to read.
    """
    folder = path if path.is_dir() else path.parent
    found = path.rglob("*") if path.is_dir() else [path]
    stems = sorted({file.with_suffix("") for file in found if file.suffix in _ENDINGS})
    if not stems:
        raise ConfigurationError(f"{path} is neither a folder of .txt and .ann files nor one of them")
    for stem in stems:
        name = unquote(stem.relative_to(folder).as_posix())
        try:
            yield _parsed(_beside(stem, ".txt"), _beside(stem, ".ann"), name, options)
        except UnreadableFile as error:
            yield rejected(error.place, error.reason)


def write(documents: Sequence[AnnotatedDocument], folder: Path, _options: Options = DEFAULTS) -> None:
    """Write two files for every document of which ``obstacles`` found none.

    They are named by the document's id, with ``%20`` and the like for what a file name should not hold, or by
    the document's number where it has no id.

    Raises:
        ConfigurationError: Two documents have one name, the folder holds files already or cannot be written.
    """
    if folder.suffix in _ENDINGS:
        raise ConfigurationError(f"{folder} is the name of a file, and brat needs a folder")
    names = [_file_name(document.id) or f"{n:06}" for n, document in enumerate(documents, start=1)]
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise ConfigurationError(
            f"{times} documents would be {folder / name}.txt: brat needs ids that differ"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigurationError(f"{folder} is not empty: brat takes every file in a folder for its own")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror or error}") from error
    for name, document in zip(names, documents, strict=True):
        write_text(folder / f"{name}.txt", document.text)
        write_text(folder / f"{name}.ann", _annotation(document))


def obstacles(document: AnnotatedDocument, _options: Options) -> list[str]:
    """Reasons why brat cannot hold a document; empty when it can."""
    found = [
        f"label {quoted(label)} has white space in it, and brat's labels have none"
        for label in dict.fromkeys(entity.label for entity in document.entities)
        if re.search(r"\s", label)
    ]
    if len(_file_name(document.id)) > _LONGEST_NAME:
        found.append(f"id {quoted(document.id)} is too long for the name of a file")
    if document.text.startswith(BYTE_ORDER_MARK):
        found.append("the text begins with a byte order mark, which is no part of a text")
    return found


def _beside(stem: Path, ending: str) -> Path:
    return stem.parent / f"{stem.name}{ending}"


def _file_name(name: str) -> str:
    quoted_name = quote(name, safe=" ")
    return re.sub(r"^\.", "%2E", quoted_name)


def _parsed(text_file: Path, annotation_file: Path, name: str, options: Options) -> ParsedDocument:
    for file, other in ((text_file, annotation_file), (annotation_file, text_file)):
        if not file.is_file():
            return rejected(Place(other), f"there is no {file.name} beside it")
    marked = read_text(text_file, mark=True)
    text = marked.removeprefix(BYTE_ORDER_MARK)
    annotation = read_text(annotation_file)
    builder = DocumentBuilder(Place(annotation_file), text, name, options.offsets)
    unit = options.offsets or OffsetUnit.CODE_POINTS
    tables = [(OffsetTable(each, unit), len(each) - len(text)) for each in dict.fromkeys((text, marked))]

    for number, raw in builder.bounded(enumerate(annotation.split("\n"), start=1)):
        line, place = raw.removesuffix("\r"), Place(annotation_file, number)
        if line.startswith("T"):
            _add(builder, line, place, text=text, tables=tables, discontinuous=options.discontinuous)
        elif line.strip() and not line.startswith(_PASSED_OVER):
            builder.add_problem(f"{quoted(line)} is no line of brat's standoff", place)
    return builder.build()


def _add(
    builder: DocumentBuilder,
    line: str,
    place: Place,
    *,
    text: str,
    tables: Sequence[_Table],
    discontinuous: Discontinuous,
) -> None:
    match = _TEXT_BOUND.fullmatch(line)
    if match is None:
        builder.add_problem(
            f"{quoted(line)} is not an id, a tab, a label and offsets, a tab, a mention", place
        )
        return
    label, offsets, mention = match.groups()
    pieces = [(int(start), int(end)) for start, end in map(str.split, offsets.split(";"))]
    found = (_spans(text, table, before, pieces, mention) for table, before in tables)
    spans = next(filter(None, found), None)
    if spans is None and len(pieces) == 1:
        builder.add_entity(*pieces[0], label, mention, place)
    elif spans is None:
        builder.add_problem(
            f"entity {quoted(mention)} is marked at {quoted(offsets)}, where the text has another", place
        )
    elif discontinuous is Discontinuous.REFUSE and _are_apart(text, spans):
        builder.add_problem(
            f"entity {quoted(mention)} is in {len(pieces)} pieces, {quoted(offsets)}: join them or take the "
            "first (--discontinuous)",
            place,
        )
    elif discontinuous is Discontinuous.FIRST and _are_apart(text, spans):
        builder.add_span(spans[0], label, place)
    else:
        builder.add_span((spans[0][0], spans[-1][1]), label, place)


def _spans(
    text: str, table: OffsetTable, before: int, pieces: Sequence[tuple[int, int]], mention: str
) -> list[tuple[int, int]] | None:
    """The code points of pieces that together read a mention, one after another; None where they do not."""
    try:
        spans = [table.span(*piece) for piece in pieces]
    except ValueError:
        return None
    spans = [(start - before, end - before) for start, end in spans]
    length = sum(end - start for start, end in spans) + len(spans) - 1
    ordered = all(left[1] <= right[0] for left, right in pairwise(spans))
    if spans[0][0] < 0 or not ordered or length != len(mention):
        return None
    shown = " ".join(text[start:end] for start, end in spans)
    return spans if _on_one_line(shown) == _on_one_line(mention) else None


def _are_apart(text: str, spans: Sequence[tuple[int, int]]) -> bool:
    return any(_VISIBLE.search(text, before[1], after[0]) for before, after in pairwise(spans))


def _on_one_line(text: str) -> str:
    return re.sub(r"\s", " ", text)


def _annotation(document: AnnotatedDocument) -> str:
    lines = (
        f"T{number}\t{entity.label} {entity.start} {entity.end}\t{_on_one_line(entity.text)}\n"
        for number, entity in enumerate(document.entities, start=1)
    )
    return "".join(lines)
