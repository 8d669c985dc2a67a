"""Texts as tokens, and tokens as texts, for the formats that hold tokens and no text.

A text that was put together from tokens has a single space between every two, or none beside a Chinese or
Japanese character when ``Options.cjk`` is set. What white space a text had before is lost in these formats.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

from stream.corpora.document import AnnotatedDocument
from stream.corpora.options import Options
from stream.corpora.reading import quoted

# CJK punctuation to CJK ideographs with kana between, compatibility ideographs, full-width forms, and the
# planes of further ideographs. Hangul is written with spaces.
_CJK = re.compile(r"[\u3001-\u312f\u3190-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


def tokenise(document: AnnotatedDocument, options: Options) -> list[tuple[int, int]]:
    """Start and end of the tokens of a document's text, in code points.

    A text is cut at white space, at both ends of every entity, and where the options say.
    """
    text = document.text
    cuts = {offset for entity in document.entities for offset in (entity.start, entity.end)}
    tokens: list[tuple[int, int]] = []
    for piece in re.finditer(r"\S+", text):
        inside = [
            at for at in range(piece.start() + 1, piece.end()) if at in cuts or _parts(text, at, options)
        ]
        tokens += pairwise([piece.start(), *inside, piece.end()])
    return tokens


def untokenise(tokens: Sequence[str], options: Options) -> tuple[str, list[tuple[int, int]]]:
    """The text of tokens, none of them empty, and where in it each of them stands."""
    pieces: list[str] = []
    places = []
    length = 0
    for token in tokens:
        if pieces and not (options.cjk and (_is_cjk(pieces[-1][-1]) or _is_cjk(token[0]))):
            pieces.append(" ")
            length += 1
        places.append((length, length + len(token)))
        pieces.append(token)
        length += len(token)
    return "".join(pieces), places


def token_spans(document: AnnotatedDocument, tokens: Sequence[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """First token, last token and label of every entity; ``obstacles`` must have found none."""
    starts = {start: number for number, (start, _) in enumerate(tokens)}
    ends = {end: number for number, (_, end) in enumerate(tokens)}
    return [(starts[entity.start], ends[entity.end], entity.label) for entity in document.entities]


def obstacles(document: AnnotatedDocument, _options: Options) -> list[str]:
    """Why tokens cannot hold a document; empty when they can."""
    if not document.text.strip():
        return ["the text is white space alone, so that it has no tokens"]
    return [
        f"entity {quoted(entity.text)} begins or ends with white space, and tokens have none"
        for entity in document.entities
        if entity.text != entity.text.strip()
    ]


def _parts(text: str, at: int, options: Options) -> bool:
    """Whether a token ends before the character ``at``, which is not the first of its piece."""
    before, after = text[at - 1], text[at]
    if options.cjk and (_is_cjk(before) or _is_cjk(after)):
        return True
    return options.split_punctuation and (_is_edge(text, at - 1) or _is_edge(text, at))


def _is_edge(text: str, at: int) -> bool:
    """Whether a character is punctuation or a symbol that does not join two letters or digits: not U.S's."""
    return _is_mark(text[at]) and not (
        0 < at < len(text) - 1 and _is_wordlike(text[at - 1]) and _is_wordlike(text[at + 1])
    )


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _is_wordlike(character: str) -> bool:
    return not character.isspace() and not _is_mark(character)


def _is_cjk(character: str) -> bool:
    return _CJK.match(character) is not None


def texts_of(document: AnnotatedDocument, tokens: Iterable[tuple[int, int]]) -> list[str]:
    """The tokens themselves."""
    return [document.text[start:end] for start, end in tokens]
