"""Tagging schemes: entities as one tag a token.

IOB1 (Ramshaw and Marcus 1995) marks a beginning only where an entity follows another of its label; IOB2 or
BIO marks every beginning; BIOES marks ends and single tokens too, and BILOU is BIOES in other letters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from stream.corpora.reading import quoted

OUTSIDE = "O"
_BILOU = {"L": "E", "U": "S"}


class Scheme(StrEnum):
    """How tags mark where entities begin and end."""

    IOB1 = "iob1"
    IOB2 = "iob2"
    BIOES = "bioes"
    BILOU = "bilou"

    @property
    def letters(self) -> str:
        """What a tag other than O can begin with."""
        return {"iob1": "BI", "iob2": "BI", "bioes": "BIES", "bilou": "BILU"}[self.value]


@dataclass(frozen=True, slots=True)
class Tagged:
    """What tags say.

    Attributes:
        spans: First token, last token and label of every entity.
        problems: Number of a token, and what is wrong with its tag.
    """

    spans: list[tuple[int, int, str]]
    problems: list[tuple[int, str]]


def is_tag(text: str) -> bool:
    """Whether a text is a tag of some scheme."""
    return text == OUTSIDE or (len(text) > len("B-") and text[0] in "BIESLU" and text[1] == "-")


def guess(tags: Iterable[str]) -> Scheme:
    """BIOES or BILOU by their letters, or else IOB2; IOB1 cannot be told from IOB2 with mistakes."""
    letters = {tag[0] for tag in tags if is_tag(tag)}
    if letters & set(_BILOU):
        return Scheme.BILOU
    return Scheme.BIOES if letters & {"E", "S"} else Scheme.IOB2


def spans_of(tags: Sequence[str], scheme: Scheme) -> Tagged:
    """Entities of tags, with everything that the scheme forbids."""
    reader = _Reader(scheme)
    for number, tag in enumerate(tags):
        reader.read(number, tag)
    reader.finish(len(tags))
    return Tagged(reader.spans, reader.problems)


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


class _Reader:
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
