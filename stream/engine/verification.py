"""Speculative decoding's accept rule: the longest drafted path that greedy decoding would have produced."""

from dataclasses import dataclass

from stream.engine.drafts.draft import START, Draft
from stream.engine.forward import PassOutput
from stream.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Verified:
    """Result of a pass for one sequence.

    Attributes:
        draft: The draft after its end.
        first: Row of the draft's first token.
        path: Accepted tokens, as indices of the draft.
        token: The last token chosen; unless the sequence is finished, it follows ``path`` and is uncached.
        finished: Whether the answer is complete.
    """

    draft: Draft | None
    first: int
    path: list[int]
    token: int
    finished: bool


class Verifier:
    """Accepts a drafted token if and only if ``choose`` chooses it; stateless."""

    def verify(
        self, sequence: Sequence, output: PassOutput, draft: Draft | None, *, row: int, first: int
    ) -> Verified:
        """Choose tokens for a sequence as long as each was drafted, and append them.

        Args:
            sequence: Receives the tokens.
            output: Of the pass.
            draft: The draft after the sequence's end.
            row: Row of that end.
            first: Row of the draft's first token.
        """
        path: list[int] = []
        at, here = START, row
        while True:
            token = self.choose(sequence, output, here, draft, at)
            if sequence.accept(token, output.log_prob(here, token)):
                return Verified(draft, first, path, token, finished=True)
            following = draft.children.get((at, token)) if draft is not None else None
            if following is None:
                return Verified(draft, first, path, token, finished=False)
            path.append(following)
            at, here = following, first + following

    def choose(
        self,
        sequence: Sequence,
        output: PassOutput,
        row: int,
        draft: Draft | None,  # noqa: ARG002 - for subclasses
        at: int,  # noqa: ARG002
    ) -> int:
        """Next token of a sequence: the forced one, the most likely allowed one, or the most likely one.

        Args:
            sequence: The sequence.
            output: Of the pass.
            row: Row of the token before.
            draft: The draft after the sequence's end.
            at: Index in the draft of the token before, or ``START``.
        """
        forced = sequence.forced_token()
        if forced is not None:
            return forced
        if sequence.constraint is None:
            return output.tokens[row]
        token = output.best_of(row, sequence.constraint.allowed())
        sequence.constraint.advance(token)
        return token
