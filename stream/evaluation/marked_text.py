"""A text with entities marked in it, as HTML."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from stream.evaluation.mistakes import Kind, Mark, Marked

_AROUND = 200


def marked_text(text: str, marks: Sequence[Mark], document: Marked) -> str:
    """The part of a text that holds a document's mistakes, with some of its entities marked.

    Where entities overlap, the shorter one's colour shows. What is not in the text stands behind it.

    Args:
        text: The document's.
        marks: Those to show.
        document: Both sides' entities, which say what part is shown.
    """
    start, end = _part(text, document)
    inside = [mark for mark in marks if start <= mark.start and mark.end <= end]
    cuts = sorted({start, end, *(mark.start for mark in inside), *(mark.end for mark in inside)})
    pieces = ["… " if start else ""]
    for left, right in pairwise(cuts):
        pieces += [_piece(text[left:right], _shortest(inside, left, right)), *_names(inside, right)]
    pieces.append(" …" if end < len(text) else "")
    absent = [mark for mark in marks if mark.start >= len(text)]
    pieces += [f" {_piece(mark.text, mark)}{_name(mark)} <small>not in the text</small>" for mark in absent]
    return "".join(pieces)


def _part(text: str, document: Marked) -> tuple[int, int]:
    """From a little before the first mistake to a little after the last, between words."""
    wrong = [mark for mark in (*document.gold, *document.predicted) if mark.kind is not Kind.RIGHT]
    inside = [mark for mark in wrong if mark.start < len(text)]
    start = max(min((mark.start for mark in inside), default=0) - _AROUND, 0)
    end = min(max((mark.end for mark in inside), default=0) + _AROUND, len(text))
    return text.rfind(" ", 0, start) + 1 if start else 0, _word_end(text, end)


def _word_end(text: str, end: int) -> int:
    found = text.find(" ", end)
    return len(text) if found == -1 else found


def _shortest(marks: Sequence[Mark], left: int, right: int) -> Mark | None:
    covering = [mark for mark in marks if mark.start <= left and right <= mark.end]
    return min(covering, key=lambda mark: mark.end - mark.start, default=None)


def _piece(text: str, mark: Mark | None) -> str:
    if mark is None:
        return escape(text)
    name = "both" if mark.kind is Kind.BOTH else mark.kind.value
    return f'<mark class="{name}" title="{escape(mark.kind.value)}">{escape(text)}</mark>'


def _names(marks: Sequence[Mark], end: int) -> list[str]:
    return [_name(mark) for mark in marks if mark.end == end]


def _name(mark: Mark) -> str:
    score = "" if mark.score is None else f" {mark.score:.2f}"
    return f"<small> {escape(mark.label)}{score}</small>"
