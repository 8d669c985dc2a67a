"""Our own format, JSON Lines: ``{"id", "text", "entities": [{"start", "end", "text", "label"}]}``.

A line may have ``labels``, the labels that its text is annotated with.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from stream.corpora.document import AnnotatedDocument
from stream.corpora.files import numbered_lines, write_text
from stream.corpora.parsing import DEFAULTS, DocumentBuilder, Options, ParsedDocument, Place, rejected
from stream.errors import ConfigurationError


def read_documents(file: Path) -> Iterator[AnnotatedDocument]:
    """Documents of a JSONL or JSONL.gz file, read as they are asked for; blank lines are skipped.

    Raises:
        ConfigurationError: The file cannot be read, or a line is not an annotated document; names the line.
    """
    for parsed in read(file):
        if parsed.document is None:
            raise ConfigurationError(str(parsed.problems[0]))
        yield parsed.document


def read(file: Path, options: Options = DEFAULTS) -> Iterator[ParsedDocument]:
    """The document of every line that is not blank, as they are asked for.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    for number, line in numbered_lines(file):
        if line.strip():
            yield _parsed(Place(file, number), line, options)


def write(documents: Sequence[AnnotatedDocument], file: Path, _options: Options = DEFAULTS) -> None:
    """Write documents, one a line.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    lines = (
        json.dumps(document.model_dump(exclude_none=True), ensure_ascii=False) + "\n"
        for document in documents
    )
    write_text(file, "".join(lines))


def _parsed(place: Place, line: bytes, options: Options) -> ParsedDocument:
    try:
        document = AnnotatedDocument.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        problem = f"{field}: {first['msg']}" if field else first["msg"]
        return rejected(place, f"not an annotated document: {problem}")
    builder = DocumentBuilder(place, document.text, document.id, options.offsets)
    for each in builder.bounded(document.entities):
        builder.add_entity(each.start, each.end, each.label, each.text)
    return builder.build(document.labels)
