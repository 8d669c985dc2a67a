"""GLiNER's training data: an array of ``{"tokenized_text": [...], "ner": [[first, last, label]]}``.

Both token numbers are inclusive. A file of one such object a line is read too. ``id`` is kept where there is
one; GLiNER ignores it. The format holds overlapping entities, but no white space.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stream.corpora.document import AnnotatedDocument
from stream.corpora.files import NotJson, bare_name, rows_of, write_text
from stream.corpora.parsing import DEFAULTS, DocumentBuilder, Options, ParsedDocument, Place, quoted, rejected
from stream.corpora.tokens import texts_of, token_spans, tokenise, untokenise

_SPAN = 3


def read(file: Path, options: Options = DEFAULTS) -> Iterator[ParsedDocument]:
    """The document of every item; one without an id is named ``NAME-1``, ``NAME-2`` and so on by its number.

    Raises:
        ConfigurationError: The file cannot be read, or its array is not JSON.
    """
    for number, (place, row) in enumerate(rows_of(file), start=1):
        yield _parsed(place, row, f"{bare_name(file)}-{number}", options)


def write(documents: Sequence[AnnotatedDocument], file: Path, options: Options = DEFAULTS) -> None:
    """Write documents whose tokens can hold them, an item a line.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    rows = (json.dumps(_row(document, options), ensure_ascii=False) for document in documents)
    write_text(file, "[\n" + ",\n".join(rows) + "\n]\n")


def _parsed(place: Place, row: Any, name: str, options: Options) -> ParsedDocument:
    if isinstance(row, NotJson):
        return rejected(place, row.reason)
    if not isinstance(row, dict) or not _are_tokens(row.get("tokenized_text")):
        return rejected(
            place, 'not a GLiNER item: "tokenized_text" must be a list of tokens that are not empty'
        )
    if not isinstance(row.get("ner"), list):
        return rejected(place, 'not a GLiNER item: "ner" must be a list of [first token, last token, label]')
    text, offsets = untokenise(row["tokenized_text"], options)
    builder = DocumentBuilder(place, text, row.get("id", name))
    for span in builder.bounded(row["ner"]):
        _add(builder, span, offsets)
    return builder.build()


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(token, str) and token for token in value)


def _add(builder: DocumentBuilder, span: Any, offsets: Sequence[tuple[int, int]]) -> None:
    if not isinstance(span, list) or len(span) != _SPAN:
        builder.add_problem(f"{quoted(span)} is no [first token, last token, label]")
        return
    first, last, label = span
    if type(first) is not int or type(last) is not int or not 0 <= first <= last < len(offsets):
        builder.add_problem(
            f"an entity is marked at tokens {quoted(first)} to {quoted(last)} of {len(offsets)}"
        )
        return
    builder.add_span((offsets[first][0], offsets[last][1]), label)


def _row(document: AnnotatedDocument, options: Options) -> dict[str, Any]:
    tokens = tokenise(document, options)
    row = {"tokenized_text": texts_of(document, tokens), "ner": token_spans(document, tokens)}
    return {"id": document.id, **row} if document.id else row
