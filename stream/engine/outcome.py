"""What a forward pass says of the tokens that come next."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.engine.model.checkpoint import FloatArray


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass over N tokens says of the R rows asked for.

    Attributes:
        logits: (R, vocabulary).
        tokens: (R), the likeliest ones.
        new: Keys and values of every layer in turn, each (1, N, kv_width).
    """

    logits: FloatArray
    tokens: list[int]
    new: list[FloatArray]

    def log_prob(self, row: int, token: int) -> float:
        """Of a token after the token of a row, over the whole vocabulary.

        Computed when asked: of the rows of a pass only those of tokens that stand are.
        """
        logits = self.logits[row]
        highest = logits[self.tokens[row]]
        return float(logits[token] - highest - np.log(np.exp(logits - highest).sum()))

    def best_of(self, row: int, tokens: NDArray[np.int64]) -> int:
        """The likeliest of some tokens."""
        return int(tokens[self.logits[row, tokens].argmax()])
