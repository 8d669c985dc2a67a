"""What a sequence takes from a pass: its next token, and every drafted one that proves right."""

from dataclasses import dataclass

from stream.engine.draft import START, Draft
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


def verify(sequence: Sequence, outcome: Outcome, row: int, draft: Draft | None, first: int) -> Verified:
    """Walk down a draft as long as the token chosen was drafted.

    Args:
        sequence: Takes the tokens.
        outcome: Of the pass.
        row: The sequence's end in it.
        draft: What was drafted behind that end.
        first: Row of the draft's first token.
    """
    path: list[int] = []
    at, here = START, row
    while True:
        token = _choose(sequence, outcome, here)
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
