"""What the scheduler asks of a way to draft tokens."""

from collections.abc import Sequence as Tokens
from typing import Protocol

from stream.engine.draft import Draft
from stream.engine.sequence import Sequence


class Proposer(Protocol):
    """Drafts continuations, which a pass verifies; called under the decoder's lock.

    Wrong drafts cost time and never change an answer.
    """

    def propose(self, sequence: Sequence, width: int, *, busy: bool) -> Draft | None:
        """Candidates for what follows a sequence.

        Args:
            sequence: May produce two tokens or more, so that a draft can help it.
            width: Most tokens of the draft.
            busy: Whether other work waits, so that only what is likely right is worth its time.

        Returns:
            A draft no deeper than ``sequence.remaining - 1``; None when nothing is worth verifying.
        """
        ...

    def learn(self, sequence: Sequence, accepted: int, following: Tokens[int]) -> None:
        """Hear what a pass said of a draft.

        Args:
            sequence: With the tokens it took in this pass.
            accepted: How many tokens of the draft were right.
            following: The likeliest token after the sequence's former end, and after each of the draft's.
        """
        ...

    def finish(self, sequence: Sequence) -> None:
        """Hear that a sequence has its whole answer."""
        ...
