"""Other methods of parallel decoding, as proposers and verifiers of the engine.

Jacobi and Gauss-Seidel decoding (Santilli et al., arXiv 2305.10427) verify a block of guesses in every pass;
the pass's most likely tokens are the next guesses. A guess after right guesses only is right itself, so any
initial guess ends at the greedy answer.
"""

import math
from dataclasses import replace

import numpy as np

from stream.bench.decoding import Decoding
from stream.engine.decoder import Decoder, EngineOptions
from stream.engine.drafts.draft import START, Draft, DraftBuilder, Proposer
from stream.engine.forward import PassOutput
from stream.engine.model.session import Model
from stream.engine.sequence import Sequence
from stream.engine.trace import OnPass
from stream.engine.verification import Verified, Verifier

GUESS = "guess"
"""Drafter of tokens that an earlier pass guessed."""

PADDING = "padding"
"""Drafter of the initial guesses that fill a block up."""

_JACOBI_BLOCK = 16
_GAUSS_SEIDEL_BLOCK = 5
_ACCEPTANCE_THRESHOLD = 0.2


def open_decoder(
    decoding: Decoding, model: Model, options: EngineOptions, *, on_pass: OnPass | None = None
) -> Decoder:
    """A decoder with one of the methods.

    Args:
        decoding: The method.
        model: The model.
        options: Of the decoder; ``decoding`` alone decides over drafts.
        on_pass: Called with a trace of every pass.
    """
    proposer: Proposer | None = None
    verifier: Verifier | None = None
    match decoding:
        case Decoding.JACOBI:
            proposer = verifier = GuessBlocks(_JACOBI_BLOCK, sliding=True)
        case Decoding.GAUSS_SEIDEL:
            proposer = verifier = GuessBlocks(_GAUSS_SEIDEL_BLOCK, sliding=False)
        case Decoding.LUD:
            verifier = LexicalUnits(_ACCEPTANCE_THRESHOLD)
    options = replace(options, drafts=decoding is not Decoding.PLAIN)
    return Decoder(model, options, proposer=proposer, verifier=verifier, on_pass=on_pass)


class GuessBlocks(Verifier):
    """Jacobi and Gauss-Seidel decoding: the proposer, and the verifier that collects the next guesses.

    Args:
        block: Number of guesses in a block.
        sliding: Whether the block moves with every accepted token (Jacobi). Otherwise the next block starts
            when one is finished (Gauss-Seidel over blocks).
    """

    def __init__(self, block: int, *, sliding: bool) -> None:
        self._block = block
        self._sliding = sliding
        self._guesses: dict[Sequence, list[int]] = {}

    def propose(self, sequence: Sequence, width: int, *, busy: bool) -> Draft | None:  # noqa: ARG002 - blocks are of one size
        """Draft the guesses of the last pass, filled up with copies of the sequence's last token."""
        done = 0 if self._sliding else len(sequence.produced) % self._block
        count = min(self._block - done, sequence.remaining) - 1
        guesses = self._guesses.get(sequence, [])[:count]
        builder, at = DraftBuilder(width), START
        for index in range(count):
            guessed = index < len(guesses)
            token = guesses[index] if guessed else sequence.ids[-1]
            following = builder.add(at, token, GUESS if guessed else PADDING)
            if following is None:
                break
            at = following
        return builder.build()

    def verify(
        self, sequence: Sequence, output: PassOutput, draft: Draft | None, *, row: int, first: int
    ) -> Verified:
        """Verify as the engine does, and keep the pass's most likely tokens as guesses."""
        verified = super().verify(sequence, output, draft, row=row, first=first)
        if verified.finished:
            self._guesses.pop(sequence, None)
        else:
            # The token after the accepted ones is chosen; later ones are guesses.
            after = first + len(verified.path)
            self._guesses[sequence] = output.tokens[after : first + len(draft or ())]
        return verified

    def learn(self, sequence: Sequence) -> None:
        """Learn nothing: guesses of one sequence do not help another."""


class LexicalUnits(Verifier):
    """Accepts a drafted token from a probability on, if the most likely token was not drafted.

    Forced and constrained answers are verified as usual.

    Args:
        threshold: Acceptance threshold, a probability.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = math.log(threshold)

    def choose(self, sequence: Sequence, output: PassOutput, row: int, draft: Draft | None, at: int) -> int:
        """The most likely token, or the most likely drafted one above the threshold."""
        token = super().choose(sequence, output, row, draft, at)
        free = sequence.forced is None and sequence.constraint is None
        if draft is None or not free or (at, token) in draft.children:
            return token
        drafted = [following for parent, following in draft.children if parent == at]
        if not drafted:
            return token
        best = output.best_of(row, np.array(drafted))
        return best if output.log_prob(row, best) >= self._threshold else token
