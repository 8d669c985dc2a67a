"""The parts of a prompt, and its text prepared for copying answers from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.engine.prefix_tree import TokenIds
from stream.engine.token_shapes import TokenKind, TokenShapes

KINDS = len(TokenKind)
# Members of an enumeration are slow to look up.
_CONTROL, _MARK, _CASELESS = int(TokenKind.CONTROL), int(TokenKind.MARK), int(TokenKind.CASELESS)
_NAMELIKE = np.array([kind in {TokenKind.CAPITAL, TokenKind.UPPER, TokenKind.DIGIT} for kind in TokenKind])

Ids = NDArray[np.int64]
Key = tuple[TokenIds, int]


@dataclass(frozen=True, slots=True)
class PromptParts:
    """A prompt by its parts, found by its control tokens alone.

    Attributes:
        start: Position of the text.
        text: The first run of ordinary tokens.
        key: Ordinary tokens after the text, and the number of control tokens there: equal for all prompts
            with the same question about different texts.
        tail: The prompt's last two tokens, if both are control tokens; else empty.
    """

    start: int
    text: TokenIds
    key: Key
    tail: TokenIds

    @classmethod
    def split(cls, ids: TokenIds, shapes: TokenShapes) -> "PromptParts | None":
        """Split a prompt; None when it consists of control tokens alone."""
        controls = [at for at, token in enumerate(ids) if token in shapes.controls]
        start = next((at for at, control in enumerate(controls) if at != control), len(controls))
        if start == len(ids):
            return None
        after = controls[start:]
        end = after[0] if after else len(ids)
        marks = set(after)
        label = tuple(ids[at] for at in range(end, len(ids)) if at not in marks)
        tail = ids[-2:] if marks >= {len(ids) - 2, len(ids) - 1} else ()
        return cls(start, ids[start:end], (label, len(after)), tail)


@dataclass(frozen=True, slots=True)
class CopySource:
    """A text of T tokens, prepared for drafting.

    Attributes:
        ids: (T).
        tokens: The same, as a tuple.
        start_classes: (T), class of a token as the first of an answer: kind of the word before, and the
            token's own shape.
        step_classes: (T - 1), class of the step from a token to the next within an answer: kind of the word
            it leaves, shape of the next token, and whether a name-like word follows that.
    """

    ids: Ids
    tokens: TokenIds
    start_classes: Ids
    step_classes: Ids

    @classmethod
    def analyse(cls, tokens: TokenIds, shapes: TokenShapes) -> "CopySource":
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

    def find(self, answer: TokenIds) -> int | None:
        """Position of an answer's first occurrence."""
        width = len(answer)
        for at in np.flatnonzero(self.ids == answer[0]).tolist() if answer else ():
            if self.tokens[at : at + width] == answer:
                return int(at)
        return None
