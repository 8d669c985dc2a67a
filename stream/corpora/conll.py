"""Columns, one token a line: the token first, its tag last, a blank line after every sentence.

Columns between the two are not read, nor are lines of ``-DOCSTART-`` and, before a sentence, comments
(``# sent_id = 3``). Columns are parted by tabs where a line has tabs, and else by spaces. The format holds
neither ids, white space nor entities that overlap; ids are made from the file's name.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stream.corpora import tokens as tokens_module
from stream.corpora.document import AnnotatedDocument
from stream.corpora.files import BYTE_ORDER_MARK, bare_name, read_text, write_text
from stream.corpora.reading import DEFAULTS, Draft, Options, Place, Reading, quoted
from stream.corpora.tokens import (
    OUTSIDE,
    Scheme,
    guess,
    is_tag,
    spans_of,
    tags_of,
    texts_of,
    token_spans,
    tokenise,
    untokenise,
)

_DOCUMENT_START = "-DOCSTART-"


@dataclass(slots=True)
class _Sentence:
    """Tokens with their tags and places, and the places where lines are wrong."""

    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    problems: list[tuple[Place, str]] = field(default_factory=list)


def read(file: Path, options: Options = DEFAULTS, scheme: Scheme | None = None) -> Iterator[Reading]:
    """A reading of every sentence, with ids ``NAME-1``, ``NAME-2`` and so on.

    Args:
        file: What to read.
        options: How tokens become a text.
        scheme: Of the tags; None tells BIOES and BILOU by their letters and takes anything else for IOB2.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    sentences = list(_sentences(file))
    scheme = scheme or guess(tag for sentence in sentences for tag in sentence.tags)
    for number, sentence in enumerate(sentences, start=1):
        yield _reading(sentence, f"{bare_name(file)}-{number}", scheme, options)


def write(
    documents: Sequence[AnnotatedDocument],
    file: Path,
    options: Options = DEFAULTS,
    scheme: Scheme = Scheme.IOB2,
) -> None:
    """Write documents of which ``obstacles`` found none, tokens and tags parted by a tab.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    write_text(file, "".join(_block(document, options, scheme) for document in documents))


def obstacles(document: AnnotatedDocument, options: Options) -> list[str]:
    """Why columns cannot hold a document, overlapping entities aside; empty when they can."""
    found = tokens_module.obstacles(document, options)
    found += [
        f"label {quoted(label)} has white space in it, and tags have none"
        for label in dict.fromkeys(entity.label for entity in document.entities)
        if re.search(r"\s", label)
    ]
    if document.text.startswith(BYTE_ORDER_MARK):
        found.append("the text begins with a byte order mark, which is no part of a text")
    if not found and _DOCUMENT_START in texts_of(document, tokenise(document, options)):
        found.append(f"the text has the token {_DOCUMENT_START}, which has a meaning of its own")
    return found


def _sentences(file: Path) -> Iterator[_Sentence]:
    sentence = _Sentence()
    for number, raw in enumerate(read_text(file).removeprefix(BYTE_ORDER_MARK).split("\n"), start=1):
        line = raw.rstrip("\r")
        columns = [column for column in re.split(r"\t+" if "\t" in line else r" +", line) if column]
        if not columns or columns[0] == _DOCUMENT_START:
            if sentence.places:
                yield sentence
                sentence = _Sentence()
        elif sentence.places or not _is_comment(line, columns):
            _add(sentence, columns, Place(file, number))
    if sentence.places:
        yield sentence


def _is_comment(line: str, columns: list[str]) -> bool:
    return line.startswith("# ") and not is_tag(columns[-1])


def _add(sentence: _Sentence, columns: list[str], place: Place) -> None:
    token, tag = columns[0].strip(" "), columns[-1].strip(" ")
    if len(columns) == 1 or not token:
        sentence.problems.append((place, f"{quoted(' '.join(columns))} is no token with its tag"))
        token, tag = token or columns[0], OUTSIDE
    sentence.places.append(place)
    sentence.tokens.append(token)
    sentence.tags.append(tag)


def _reading(sentence: _Sentence, name: str, scheme: Scheme, options: Options) -> Reading:
    text, offsets = untokenise(sentence.tokens, options)
    draft = Draft(sentence.places[0], text, name)
    for place, reason in sentence.problems:
        draft.add_problem(reason, place)
    tagged = spans_of(sentence.tags, scheme)
    for number, reason in tagged.problems:
        draft.add_problem(reason, sentence.places[number])
    for first, last, label in tagged.spans:
        draft.add_entity(offsets[first][0], offsets[last][1], label, place=sentence.places[first])
    return draft.reading()


def _block(document: AnnotatedDocument, options: Options, scheme: Scheme) -> str:
    tokens = tokenise(document, options)
    tags = tags_of(len(tokens), token_spans(document, tokens), scheme)
    lines = (f"{token}\t{tag}\n" for token, tag in zip(texts_of(document, tokens), tags, strict=True))
    return "".join(lines) + "\n"
