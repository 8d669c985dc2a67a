"""Our own format, JSON Lines: ``{"id", "text", "entities": [{"start", "end", "text", "label"}]}``."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from stream.corpora.document import AnnotatedDocument
from stream.corpora.files import numbered_lines, write_text
from stream.corpora.reading import DEFAULTS, Options, Place, Problem, Reading, offset_problem, rejected
from stream.errors import ConfigurationError


def read_documents(file: Path) -> Iterator[AnnotatedDocument]:
    """Documents of a JSONL or JSONL.gz file, read as they are asked for; blank lines are skipped.

    Raises:
        ConfigurationError: The file cannot be read, or a line is not an annotated document; names the line.
    """
    for reading in read(file):
        if reading.document is None:
            raise ConfigurationError(str(reading.problems[0]))
        yield reading.document


def read(file: Path, _options: Options = DEFAULTS) -> Iterator[Reading]:
    """A reading of every line that is not blank, as they are asked for.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    for number, line in numbered_lines(file):
        if line.strip():
            yield _reading(Place(file, number), line)


def write(documents: Sequence[AnnotatedDocument], file: Path, _options: Options = DEFAULTS) -> None:
    """Write documents, one a line.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    lines = (json.dumps(document.model_dump(), ensure_ascii=False) + "\n" for document in documents)
    write_text(file, "".join(lines))


def _reading(place: Place, line: bytes) -> Reading:
    try:
        document = AnnotatedDocument.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        problem = f"{field}: {first['msg']}" if field else first["msg"]
        return rejected(place, f"not an annotated document: {problem}")
    reasons = (
        offset_problem(document.text, entity.start, entity.end, entity.text) for entity in document.entities
    )
    problems = tuple(Problem(place, reason) for reason in reasons if reason)
    return Reading(place, None if problems else document, problems)
