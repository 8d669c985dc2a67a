"""What a sequence takes from a pass: its next token, and every drafted one that proves right."""

from dataclasses import dataclass

import numpy as np

from stream.engine.drafts.draft import START, Draft
from stream.engine.outcome import Outcome
from stream.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Verified:
    """What a sequence took.

    Attributes:
        draft: What was drafted behind its end.
        row: Its end among the rows of the pass.
        first: Row of the draft's first token.
        path: Its drafted tokens that were right, as indices of the draft.
        token: The last token chosen; unless the sequence is finished it comes after ``path`` and is unread.
        finished: Whether the answer is complete.
    """

    draft: Draft | None
    row: int
    first: int
    path: list[int]
    token: int
    finished: bool

    def following(self, outcome: Outcome) -> list[int]:
        """The likeliest token after the sequence's end, and after each of the draft's tokens."""
        drafted = 0 if self.draft is None else len(self.draft)
        return [outcome.tokens[self.row], *outcome.tokens[self.first : self.first + drafted]]


def verify(
    sequence: Sequence,
    outcome: Outcome,
    draft: Draft | None,
    *,
    row: int,
    first: int,
    confidence: float | None = None,
) -> Verified:
    """Walk down a draft as long as the token chosen was drafted.

    Args:
        sequence: Takes the tokens.
        outcome: Of the pass.
        draft: What was drafted behind the sequence's end.
        row: That end in the outcome.
        first: Row of the draft's first token.
        confidence: Probability from which on a drafted token is taken though another is likelier, where that
            one was not drafted. None: the likeliest is always taken, as greedy decoding does.
    """
    path: list[int] = []
    at, here = START, row
    while True:
        token = _choose(sequence, outcome, here)
        if confidence is not None and draft is not None and (at, token) not in draft.children:
            token = _confident(sequence, outcome, here, draft.after(at), confidence) or token
        if sequence.accept(token, outcome.log_prob(here, token)):
            return Verified(draft, row, first, path, token, finished=True)
        following = draft.children.get((at, token)) if draft is not None else None
        if following is None:
            return Verified(draft, row, first, path, token, finished=False)
        path.append(following)
        at, here = following, first + following


def _choose(sequence: Sequence, outcome: Outcome, row: int) -> int:
    forced = sequence.forced_token()
    if forced is not None:
        return forced
    if sequence.grounding is not None:
        return sequence.grounding.choose(outcome, row)
    return outcome.tokens[row]


def _confident(
    sequence: Sequence, outcome: Outcome, row: int, drafted: list[int], confidence: float
) -> int | None:
    """The likeliest of some drafted tokens, if it is likely enough and the sequence is free to take it."""
    if not drafted or sequence.forced is not None or sequence.grounding is not None:
        return None
    token = outcome.best_of(row, np.array(drafted))
    return token if outcome.log_prob(row, token) >= np.log(confidence) else None
