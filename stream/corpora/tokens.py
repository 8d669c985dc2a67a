"""Tokens of a text, and entities as tags of tokens.

IOB1 (Ramshaw and Marcus 1995) marks a beginning only where an entity follows another of its label; IOB2 or
BIO marks every beginning; BIOES marks ends and single tokens too, and BILOU is BIOES in other letters.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from stream.corpora.document import AnnotatedDocument
from stream.corpora.parsing import Options, quoted

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
        if pieces and not (options.cjk and (is_cjk(pieces[-1][-1]) or is_cjk(token[0]))):
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
    """Reasons why tokens cannot hold a document; empty when they can."""
    if not document.text.strip():
        return ["the text is white space alone, so that it has no tokens"]
    return [
        f"entity {quoted(entity.text)} begins or ends with white space, and tokens have none"
        for entity in document.entities
        if entity.text != entity.text.strip()
    ]


def is_cjk(character: str) -> bool:
    """Tell Chinese and Japanese characters, which have no spaces between words."""
    return _CJK.match(character) is not None


def _parts(text: str, at: int, options: Options) -> bool:
    """Tell whether a token ends before the character ``at``, which is not the first of its piece."""
    before, after = text[at - 1], text[at]
    if options.cjk and (is_cjk(before) or is_cjk(after)):
        return True
    return options.split_punctuation and (_is_edge(text, at - 1) or _is_edge(text, at))


def _is_edge(text: str, at: int) -> bool:
    """Tell punctuation at an edge from marks that join two letters or digits, as those of U.S's do."""
    return _is_mark(text[at]) and not (
        0 < at < len(text) - 1 and _is_wordlike(text[at - 1]) and _is_wordlike(text[at + 1])
    )


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _is_wordlike(character: str) -> bool:
    return not character.isspace() and not _is_mark(character)


def texts_of(document: AnnotatedDocument, tokens: Iterable[tuple[int, int]]) -> list[str]:
    """The tokens themselves."""
    return [document.text[start:end] for start, end in tokens]


OUTSIDE = "O"
_BILOU = {"L": "E", "U": "S"}


class Scheme(StrEnum):
    """Tagging schemes: the letters that mark where entities begin and end."""

    IOB1 = "iob1"
    IOB2 = "iob2"
    BIOES = "bioes"
    BILOU = "bilou"

    @property
    def letters(self) -> str:
        """The letters that a tag other than O can begin with."""
        return {"iob1": "BI", "iob2": "BI", "bioes": "BIES", "bilou": "BILU"}[self.value]


@dataclass(frozen=True, slots=True)
class Tagged:
    """The entities that tags mark.

    Attributes:
        spans: First token, last token and label of every entity.
        problems: Number of a token, and the reason why its tag is wrong.
    """

    spans: list[tuple[int, int, str]]
    problems: list[tuple[int, str]]


def is_tag(text: str) -> bool:
    """Tell whether a text is a tag of some scheme."""
    return text == OUTSIDE or (len(text) > len("B-") and text[0] in "BIESLU" and text[1] == "-")


def guess(tags: Iterable[str]) -> Scheme:
    """BIOES or BILOU by their letters, or else IOB2; IOB1 cannot be told from IOB2 with mistakes."""
    letters = {tag[0] for tag in tags if is_tag(tag)}
    if letters & set(_BILOU):
        return Scheme.BILOU
    return Scheme.BIOES if letters & {"E", "S"} else Scheme.IOB2


def spans_of(tags: Sequence[str], scheme: Scheme) -> Tagged:
    """Entities of tags, with everything that the scheme forbids."""
    decoder = _TagDecoder(scheme)
    for number, tag in enumerate(tags):
        decoder.read(number, tag)
    decoder.finish(len(tags))
    return Tagged(decoder.spans, decoder.problems)


def tags_of(tokens: int, spans: Iterable[tuple[int, int, str]], scheme: Scheme) -> list[str]:
    """Tags for entities that do not overlap: first token, last token and label of each."""
    tags = [OUTSIDE] * tokens
    previous: tuple[int, str] | None = None
    for first, last, label in sorted(spans):
        letters = ["I"] * (last - first + 1)
        if scheme is not Scheme.IOB1 or previous == (first - 1, label):
            letters[0] = "B"
        if scheme in {Scheme.BIOES, Scheme.BILOU}:
            letters[-1] = "E" if last > first else "S"
        if scheme is Scheme.BILOU:
            letters = [{"E": "L", "S": "U"}.get(letter, letter) for letter in letters]
        tags[first : last + 1] = [f"{letter}-{label}" for letter in letters]
        previous = (last, label)
    return tags


class _TagDecoder:
    def __init__(self, scheme: Scheme) -> None:
        self.spans: list[tuple[int, int, str]] = []
        self.problems: list[tuple[int, str]] = []
        self._scheme = scheme
        self._marks_ends = scheme in {Scheme.BIOES, Scheme.BILOU}
        self._open: tuple[int, str] | None = None
        self._last: str | None = None  # label of the entity that the token before belongs to

    def read(self, number: int, tag: str) -> None:
        if tag == OUTSIDE:
            self._close(number)
            self._last = None
            return
        if not is_tag(tag) or tag[0] not in self._scheme.letters:
            letters = ", ".join(f"{letter}-" for letter in self._scheme.letters)
            self.problems.append(
                (number, f"tag {quoted(tag)} is none of {self._scheme}: O, or a label after {letters}")
            )
            self._open = self._last = None
            return
        letter, label = _BILOU.get(tag[0], tag[0]), tag[2:]
        if letter in "BS":
            self._begin(number, tag, label)
        else:
            self._go_on(number, tag, label)
        if letter in "ES" and self._open:
            self.spans.append((self._open[0], number, label))
            self._open = None
        self._last = label

    def finish(self, number: int) -> None:
        self._close(number)

    def _begin(self, number: int, tag: str, label: str) -> None:
        self._close(number)
        if self._scheme is Scheme.IOB1 and self._last != label:
            hint = "in IOB1 a B- does (if the file is IOB2, say so: --from iob2)"
            self.problems.append((number, f"{tag} follows no entity of its label, and {hint}"))
        self._open = (number, label)

    def _go_on(self, number: int, tag: str, label: str) -> None:
        if self._open and self._open[1] == label:
            return
        self._close(number)
        if self._scheme is not Scheme.IOB1:
            hint = " (if the file is IOB1, say so: --from iob1)" if self._scheme is Scheme.IOB2 else ""
            self.problems.append((number, f"{tag} continues no entity: no B-{label} comes before it{hint}"))
        self._open = (number, label)

    def _close(self, number: int) -> None:
        if self._open is None:
            return
        first, label = self._open
        if self._marks_ends:
            self.problems.append((number - 1, f"an entity {label} has no end in {self._scheme}"))
        self.spans.append((first, number - 1, label))
        self._open = None
