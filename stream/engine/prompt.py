"""The text within a prompt: what answers are copied from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.engine.prefix_tree import TokenIds
from stream.engine.token_shapes import Kind, TokenShapes

KINDS = len(Kind)
# Members of an enumeration are slow to look up.
_CONTROL, _MARK, _CASELESS = int(Kind.CONTROL), int(Kind.MARK), int(Kind.CASELESS)
_NAMELIKE = np.array([kind in {Kind.CAPITAL, Kind.UPPER, Kind.DIGIT} for kind in Kind])

Ids = NDArray[np.int64]
Key = tuple[TokenIds, int]


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt by its parts, told apart by its control tokens alone.

    Attributes:
        start: Where its text begins.
        text: The first run of ordinary tokens.
        key: What stands after it, control tokens counted but not told apart: alike for all prompts that
            ask the same of different texts.
        tail: The prompt's last two tokens, where both are control tokens; else none.
    """

    start: int
    text: TokenIds
    key: Key
    tail: TokenIds


def read_question(ids: TokenIds, shapes: TokenShapes) -> Question | None:
    """The parts of a prompt; None when it holds control tokens alone."""
    controls = [at for at, token in enumerate(ids) if token in shapes.controls]
    start = next((at for at, control in enumerate(controls) if at != control), len(controls))
    if start == len(ids):
        return None
    after = controls[start:]
    end = after[0] if after else len(ids)
    marks = set(after)
    label = tuple(ids[at] for at in range(end, len(ids)) if at not in marks)
    tail = ids[-2:] if marks >= {len(ids) - 2, len(ids) - 1} else ()
    return Question(start, ids[start:end], (label, len(after)), tail)


@dataclass(frozen=True, slots=True)
class Text:
    """A text of T tokens, analysed for drafting.

    Attributes:
        ids: (T).
        tokens: The same, as a tuple.
        start_classes: (T), the class of a token as the first of an answer: what word stands before it, and
            its own shape.
        step_classes: (T - 1), the class of the step from a token to the next within an answer: the word that
            is left, the next token's shape, and whether something like a name follows that.
    """

    ids: Ids
    tokens: TokenIds
    start_classes: Ids
    step_classes: Ids

    @classmethod
    def analyse(cls, tokens: TokenIds, shapes: TokenShapes) -> "Text":
        """Find words and classes."""
        ids = np.array(tokens, np.int64)
        kinds = shapes.kinds[ids]
        opens = shapes.spaced[ids] | (kinds == _CASELESS)
        opens[0] = True
        opens[1:] |= kinds[:-1] == _MARK
        at = np.arange(len(ids))
        words = kinds[np.maximum.accumulate(np.where(opens, at, 0))]
        shape = opens * KINDS + kinds
        before = np.concatenate(([_CONTROL], words[:-1]))
        openings = np.append(at[opens], len(ids))
        following = openings[np.minimum(np.searchsorted(openings, at + 1), len(openings) - 1)]
        namelike = _NAMELIKE[np.append(kinds, _CONTROL)[following]]
        return cls(
            ids,
            tokens,
            start_classes=before * 2 * KINDS + shape,
            step_classes=((words[:-1] * 2 * KINDS + shape[1:]) * 2 + namelike[1:]),
        )


def find(answer: TokenIds, text: Text) -> int | None:
    """Where an answer first stands in a text."""
    width = len(answer)
    for at in np.flatnonzero(text.ids == answer[0]).tolist() if answer else ():
        if text.tokens[at : at + width] == answer:
            return int(at)
    return None
