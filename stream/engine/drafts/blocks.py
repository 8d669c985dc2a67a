"""Jacobi and Gauss-Seidel decoding (Santilli et al., arXiv 2305.10427): guesses that correct each other.

A block of guesses is verified in every pass, and its likeliest tokens are the guesses of the next; the ones
that stand behind right guesses only are right themselves. Started from anything it ends at the greedy answer.
"""

from collections.abc import Sequence as Tokens
from dataclasses import dataclass

from stream.engine.drafts.draft import Draft, DraftBuilder
from stream.engine.sequence import Sequence

GUESS = "guess"


@dataclass(frozen=True, slots=True)
class BlockProposer:
    """A ``Proposer`` of one chain of guesses.

    Attributes:
        block: Guesses in a block.
        sliding: Whether the block moves along with the settled tokens (Jacobi); or the next one begins only
            when one is settled whole (Gauss-Seidel over blocks).
    """

    block: int
    sliding: bool

    def propose(self, sequence: Sequence, width: int, *, busy: bool) -> Draft | None:  # noqa: ARG002 - a block is a block
        """The guesses left of the last pass; where there are none, the sequence's last token repeated."""
        settled = 0 if self.sliding else len(sequence.produced) % self.block
        count = min(self.block - settled, sequence.remaining) - 1
        guesses = [guess for guess, _ in sequence.guesses[:count]]
        builder = DraftBuilder(width)
        builder.add_chain([*guesses, *[sequence.ids[-1]] * (count - len(guesses))], GUESS)
        return builder.build()

    def learn(self, sequence: Sequence, accepted: int, following: Tokens[int]) -> None:
        """Keep what the pass says instead of the guesses that were wrong."""
        before = sequence.guesses
        # The token after the accepted ones is settled; those after it are the new guesses.
        sequence.guesses = [
            before[at] if at < len(before) and before[at][0] == guess else (guess, sequence.passes)
            for at, guess in enumerate(following[accepted + 1 :])
        ]

    def finish(self, sequence: Sequence) -> None:
        """Nothing is learned from one sequence for another."""
