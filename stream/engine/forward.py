"""The forward pass: a feed in; logits, keys and values out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.engine.batch import Feed
from stream.engine.kv_cache import KvCache
from stream.engine.model.checkpoint import FloatArray
from stream.engine.model.session import Sessions


@dataclass(frozen=True, slots=True)
class PassOutput:
    """Output of a pass over N tokens with R rows of logits.

    Attributes:
        logits: (R, vocabulary).
        tokens: (R), the argmax of each row.
        new: Keys and values of every layer in turn, each (1, N, kv_width).
    """

    logits: FloatArray
    tokens: list[int]
    new: list[FloatArray]

    def log_prob(self, row: int, token: int) -> float:
        """Log-probability of a token in a row, over the whole vocabulary.

        Computed on demand: most rows belong to rejected drafts.
        """
        logits = self.logits[row]
        highest = logits[self.tokens[row]]
        return float(logits[token] - highest - np.log(np.exp(logits - highest).sum()))

    def best_of(self, row: int, tokens: NDArray[np.int64]) -> int:
        """The most likely of the given tokens."""
        return int(tokens[self.logits[row, tokens].argmax()])


class ForwardPass:
    """Runs feeds over one graph and one KV cache; several threads may run at once.

    Args:
        sessions: Over the graph of ``stream.engine.model.graph``.
        cache: The KV cache; a feed's slots must be the caller's own.
    """

    def __init__(self, sessions: Sessions, cache: KvCache) -> None:
        self._cache = cache
        self._sessions = sessions
        self._cached = {
            f"{part}_{layer}": array
            for layer, pair in enumerate(cache.layers)
            for part, array in zip(("keys", "values"), pair, strict=True)
        }
        self._outputs = ["logits", *(f"new_{name}" for name in self._cached)]

    def run(self, feed: Feed, *, alone: bool = False) -> PassOutput:
        """Run one pass and store keys and values of the feed's first tokens in its slots.

        Args:
            feed: The pass.
            alone: Whether no other pass runs, so that this one may use all threads.
        """
        inputs = {
            "ids": feed.ids,
            "positions": feed.positions,
            "past": feed.past,
            "mask": feed.mask[None, None],
            "rows": feed.rows,
            **self._cached,
        }
        session = self._sessions.wide if alone else self._sessions.narrow
        logits, *new = session.run(self._outputs, inputs)
        self._cache.write(feed.slots, new)
        return PassOutput(logits, logits.argmax(axis=1).tolist(), new)
