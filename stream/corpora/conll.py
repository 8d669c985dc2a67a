"""Columns, one token a line, a blank line after every sentence; by default token first and tag last.

``Options.columns`` names other columns, several of tags where entities lie in one another (GermEval 2014).
Tabs separate the columns of a line with tabs, and spaces those of any other. Lines of ``-DOCSTART-`` are
passed over, as are comments before a sentence (``# sent_id = 3``) and CoNLL-U's lines that number no word
(``3-4``, ``3.1``). One column of tags holds no entities that overlap, and the format neither ids nor white
space; ids are made from the file's name.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

from stream.corpora import tokens as tokens_module
from stream.corpora.document import AnnotatedDocument
from stream.corpora.files import BYTE_ORDER_MARK, UnreadableFile, bare_name, numbered_lines, write_text
from stream.corpora.parsing import DEFAULTS, DocumentBuilder, Options, ParsedDocument, Place, quoted
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
_BLANKS = b" \t\r\n"
_COMMENT = (b"# ", b"#\t")
_NUMBER = re.compile(r"\d+([-.]\d+)?")
_NO_WORD_NUMBER = re.compile(r"\d+[-.]\d+")
_TOKEN_AND_TAG = 2  # columns of the plainest layout
_REPEATS = 2  # neighbours in sentences that begin alike, all of them: ids and not tokens


class _Row(NamedTuple):
    """A line with a token, or, without columns, the end of a sentence.

    Attributes:
        number: Of the line, counted from 1.
        columns: All columns.
        cells: Token and tags; place-holders where there is a problem.
        problem: The reason why the line cannot be used; empty when it can.
    """

    number: int
    columns: Sequence[str] = ()
    cells: Sequence[str] = ()
    problem: str = ""


def read(file: Path, options: Options = DEFAULTS, scheme: Scheme | None = None) -> Iterator[ParsedDocument]:
    """A document for every sentence, with ids ``NAME-1``, ``NAME-2`` and so on.

    Args:
        file: The file to read.
        options: The columns, and the way from tokens to a text.
        scheme: Of the tags; None: BIOES or BILOU where their letters occur, and else IOB2.

    Raises:
        ConfigurationError: The file cannot be read, or its first and last columns are not tokens and tags.
    """
    rows = list(_rows(file, options.columns))
    if options.columns is None:
        _check_layout(file, rows)
    scheme = scheme or guess(tag for row in rows for tag in row.cells[1:])
    sentences = (list(group) for is_text, group in groupby(rows, lambda row: bool(row.columns)) if is_text)
    for number, sentence in enumerate(sentences, start=1):
        yield _parsed(file, sentence, f"{bare_name(file)}-{number}", scheme, options)


def write(
    documents: Sequence[AnnotatedDocument],
    file: Path,
    options: Options = DEFAULTS,
    scheme: Scheme = Scheme.IOB2,
) -> None:
    """Write documents of which ``obstacles`` found none, with a tab between token and tag.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    write_text(file, "".join(_block(document, options, scheme) for document in documents))


def obstacles(document: AnnotatedDocument, options: Options) -> list[str]:
    """Reasons why columns cannot hold a document, overlapping entities aside; empty when they can."""
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


def _rows(file: Path, wanted: Sequence[int] | None) -> Iterator[_Row]:
    begun = False
    for number, raw in numbered_lines(file):
        row = _row(number, raw.rstrip(_BLANKS), wanted)
        is_comment = raw.startswith(_COMMENT) and (row.problem or not all(map(is_tag, row.cells[1:])))
        if (is_comment and not begun) or (row.columns and wanted and _numbers_no_word(row, wanted)):
            continue
        begun = bool(row.columns)
        yield row


def _row(number: int, raw: bytes, wanted: Sequence[int] | None) -> _Row:
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        return _Row(number, ("_",), _placeholders(wanted), f"not UTF-8 text: {error.reason}")
    if "\t" in line:
        columns = [column.strip(" ") for column in line.split("\t")]
    else:
        columns = [column for column in line.split(" ") if column]
    if not any(columns) or columns[0] == _DOCUMENT_START:
        return _Row(number)
    if wanted is None:
        cells = [columns[0], columns[-1] if len(columns) > 1 else ""]
    else:
        cells = [columns[at - 1] if at <= len(columns) else "" for at in wanted]
    if "" in cells:
        reason = f"{quoted(' '.join(columns))} is no token with its tag"
        return _Row(number, columns, _placeholders(wanted), reason)
    return _Row(number, columns, cells)


def _placeholders(wanted: Sequence[int] | None) -> Sequence[str]:
    return ("_", *[OUTSIDE] * (len(wanted or (1, 2)) - 1))


def _numbers_no_word(row: _Row, wanted: Sequence[int]) -> bool:
    return wanted[0] > 1 and _NO_WORD_NUMBER.fullmatch(row.columns[0]) is not None


def _check_layout(file: Path, rows: Sequence[_Row]) -> None:
    """Refuse a file of more than two columns whose first are no tokens or whose last are no tags.

    Raises:
        UnreadableFile: The layout is another.
    """
    wide = [row.columns for row in rows if len(row.columns) > _TOKEN_AND_TAG]
    if len(wide) * 2 <= sum(bool(row.columns) for row in rows):
        return
    neighbours = [
        (one.columns[0], two.columns[0]) for one, two in pairwise(rows) if one.columns and two.columns
    ]
    if all(_NUMBER.fullmatch(columns[0]) for columns in wide):
        fault = "the first column holds numbers and no tokens"
    elif len(neighbours) >= _REPEATS and all(one == two for one, two in neighbours):
        fault = "the first column never changes within a sentence, so it holds no tokens"
    elif sum(is_tag(columns[-1]) for columns in wide) * 2 < len(wide):
        fault = f"the last column holds {quoted(wide[0][-1])} and the like, and no tags such as O or B-PER"
    else:
        return
    tags = [
        str(at) for at, column in enumerate(zip(*wide, strict=False), start=1) if all(map(is_tag, column))
    ]
    found = f"; there are tags in column {' and '.join(tags)}" if tags else ""
    example = f"2,{tags[0] if tags else 3}"
    raise UnreadableFile(
        Place(file, 1), f"{fault}: name the columns of token and tag, as in --columns {example}{found}"
    )


def _parsed(
    file: Path, sentence: Sequence[_Row], name: str, scheme: Scheme, options: Options
) -> ParsedDocument:
    tokens, *tag_columns = zip(*(row.cells for row in sentence), strict=True)
    text, offsets = untokenise(tokens, options)
    tagged = [spans_of(tags, scheme) for tags in tag_columns]
    problems = [(row.number, row.problem) for row in sentence if row.problem]
    problems += [(sentence[at].number, reason) for each in tagged for at, reason in each.problems]
    builder = DocumentBuilder(Place(file, sentence[0].number), text, name)
    for number, reason in builder.bounded(problems):
        builder.add_problem(reason, Place(file, number))
    for each in tagged:
        for first, last, label in each.spans:
            place = Place(file, sentence[first].number)
            builder.add_span((offsets[first][0], offsets[last][1]), label, place)
    return builder.build()


def _block(document: AnnotatedDocument, options: Options, scheme: Scheme) -> str:
    tokens = tokenise(document, options)
    tags = tags_of(len(tokens), token_spans(document, tokens), scheme)
    lines = (f"{token}\t{tag}\n" for token, tag in zip(texts_of(document, tokens), tags, strict=True))
    return "".join(lines) + "\n"
