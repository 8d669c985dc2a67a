"""doccano's JSON Lines, in the three shapes that its versions export.

``{"text", "label": [[start, end, label]]}``, the same under ``labels``, or
``{"text", "entities": [{"start_offset", "end_offset", "label"}]}`` of projects with relations, which are not
read. Older exports name the text ``data``. doccano counts code points. Exports of other tools in its format
may count UTF-16 units (``Options.offsets``), and projects may be set up to count grapheme clusters, which
cannot be read.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stream.corpora.document import AnnotatedDocument
from stream.corpora.files import NotJson, lines_of, write_text
from stream.corpora.parsing import DEFAULTS, DocumentBuilder, Options, ParsedDocument, Place, quoted, rejected

_SPAN = 3
_SHAPES = ("label", "labels", "entities")


def read(file: Path, options: Options = DEFAULTS) -> Iterator[ParsedDocument]:
    """The document of every line that is not blank.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    for place, row in lines_of(file):
        yield _parsed(place, row, options)


def write(documents: Sequence[AnnotatedDocument], file: Path, _options: Options = DEFAULTS) -> None:
    """Write documents as doccano imports them, with ``label``.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    lines = (json.dumps(_row(document), ensure_ascii=False) + "\n" for document in documents)
    write_text(file, "".join(lines))


def _parsed(place: Place, row: Any, options: Options) -> ParsedDocument:
    if isinstance(row, NotJson):
        return rejected(place, row.reason)
    if not isinstance(row, dict):
        return rejected(place, f"{quoted(row)} is no object")
    shapes = [shape for shape in _SHAPES if isinstance(row.get(shape), list)]
    if len(shapes) != 1:
        found = " and ".join(shapes) or "none"
        return rejected(place, f'one list of "label", "labels" or "entities" is needed, and there is {found}')
    text, name = row.get("text", row.get("data")), row.get("id", "")
    builder = DocumentBuilder(place, text, name, options.offsets)
    for span in builder.bounded(row[shapes[0]]):
        _add(builder, span)
    return builder.build()


def _add(builder: DocumentBuilder, span: Any) -> None:
    if isinstance(span, dict):
        builder.add_entity(span.get("start_offset"), span.get("end_offset"), span.get("label"))
    elif isinstance(span, list) and len(span) == _SPAN:
        builder.add_entity(*span)
    else:
        builder.add_problem(f"{quoted(span)} is neither [start, end, label] nor an object with the offsets")


def _row(document: AnnotatedDocument) -> dict[str, Any]:
    spans = [[entity.start, entity.end, entity.label] for entity in document.entities]
    row: dict[str, Any] = {"text": document.text, "label": spans}
    return {"id": document.id, **row} if document.id else row
