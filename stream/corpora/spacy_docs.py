"""spaCy's ``.spacy`` files, by spaCy itself (``pip install 'padellm-stream[convert]'``).

Entities that do not overlap are ``doc.ents``; a document with others has all of them in the span group
``sc``, which spaCy's span categorizer reads. Both are read, and no other span group: not all hold entities.
The id is ``doc.user_data["id"]``.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from stream.corpora.document import AnnotatedDocument, first_overlap
from stream.corpora.files import bare_name, read_bytes, write_bytes
from stream.corpora.parsing import DEFAULTS, DocumentBuilder, Options, ParsedDocument, Place
from stream.errors import ConfigurationError

_SPAN_GROUP = "sc"
# spaCy's tokenizer takes marks off a word one by one, in time that grows with the square of their number;
# such a run becomes a word of its own.
_LONG_RUN = re.compile(r"[^\w\s]{8,}|\S{100,}")
_ATTRIBUTES = ["ENT_IOB", "ENT_TYPE"]


def read(file: Path, _options: Options = DEFAULTS) -> Iterator[ParsedDocument]:
    """Every document; one without an id is named ``NAME-1``, ``NAME-2`` and so on.

    Raises:
        ConfigurationError: The file cannot be read, or spaCy is not installed.
    """
    for number, (text, own_id, spans) in enumerate(_contents(file), start=1):
        name = own_id if isinstance(own_id, str) else f"{bare_name(file)}-{number}"
        builder = DocumentBuilder(Place(file, number, "document"), text, name)
        # An entity may be both in doc.ents and in the span group.
        for span in builder.bounded(dict.fromkeys(spans)):
            builder.add_entity(*span)
        yield builder.build()


def write(documents: Sequence[AnnotatedDocument], file: Path, _options: Options = DEFAULTS) -> None:
    """Write documents, tokenised for no language in particular and cut where an entity begins or ends.

    Raises:
        ConfigurationError: The file cannot be written, or spaCy is not installed.
    """
    spacy = _spacy()
    # No language's tokenizer changes a text; the one for any language knows no exceptions.
    pipeline = spacy.blank("xx")
    stored = spacy.tokens.DocBin(attrs=_ATTRIBUTES, store_user_data=True)
    for document in documents:
        stored.add(_doc(document, pipeline, spacy))
    write_bytes(file, stored.to_bytes())


def _spacy() -> Any:
    try:
        import spacy  # noqa: PLC0415 - optional, and a second of import
        import spacy.tokens  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "spaCy's files need spaCy, which is not installed: pip install 'padellm-stream[convert]'"
        ) from error
    return spacy


def _contents(file: Path) -> list[tuple[Any, Any, list[tuple[Any, ...]]]]:
    """Text, id and entities of every document; taking them from spaCy's objects may fail, too."""
    spacy = _spacy()
    content = read_bytes(file)
    try:
        stored = spacy.tokens.DocBin().from_bytes(content)
        docs = stored.get_docs(spacy.blank("xx").vocab)
        return [(doc.text, doc.user_data.get("id"), _marked(doc)) for doc in docs]
    except Exception as error:  # anything may come of bytes that are not spaCy's
        raise ConfigurationError(f"{file} is not a .spacy file that this spaCy can read: {error}") from error


def _marked(doc: Any) -> list[tuple[Any, ...]]:
    spans = [*doc.ents, *doc.spans.get(_SPAN_GROUP, ())]
    return [(span.start_char, span.end_char, span.label_) for span in spans]


def _doc(document: AnnotatedDocument, pipeline: Any, spacy: Any) -> Any:
    words, spaces = _words(document, pipeline.tokenizer)
    doc = spacy.tokens.Doc(pipeline.vocab, words=words, spaces=spaces)
    if document.id:
        doc.user_data["id"] = document.id
    spans = [doc.char_span(e.start, e.end, e.label) for e in document.entities]
    if first_overlap(document.entities):
        doc.spans[_SPAN_GROUP] = spans
    else:
        doc.set_ents(spans)
    return doc


def _words(document: AnnotatedDocument, tokenizer: Any) -> tuple[list[str], list[bool]]:
    """Words cut where entities begin or end, and for each whether a space follows that is no word."""
    text = document.text
    starts = {entity.start for entity in document.entities}
    ends = {entity.end for entity in document.entities}
    runs = [offset for run in _LONG_RUN.finditer(text) for offset in run.span()]
    cuts = sorted({*starts, *ends, *runs})
    words, spaces = [], []
    for token in tokenizer(_LONG_RUN.sub(lambda run: "a" * len(run[0]), text)):
        end = token.idx + len(token)
        inside = cuts[bisect_right(cuts, token.idx) : bisect_left(cuts, end)]
        words += [text[first:last] for first, last in pairwise([token.idx, *inside, end])]
        spaces += [False] * (len(inside) + 1)
        if token.whitespace_:
            # A space belongs to the word before it, unless an entity begins or ends with it.
            spaces[-1] = end not in starts and end + 1 not in ends
            if not spaces[-1]:
                words.append(token.whitespace_)
                spaces.append(False)
    return words, spaces
