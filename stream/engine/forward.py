"""The forward pass: a feed in; logits, keys and values out."""

from stream.engine.batch import Feed
from stream.engine.kv_cache import KvCache
from stream.engine.model.config import ModelSpec
from stream.engine.model.session import Sessions
from stream.engine.outcome import Outcome


class ForwardPass:
    """Runs feeds over one graph and one pool of keys and values; several threads may run at once.

    Args:
        spec: The model's shapes.
        sessions: Over the graph of ``stream.engine.model.graph``.
        cache: The pool; a feed's slots must be the caller's own.
    """

    def __init__(self, spec: ModelSpec, sessions: Sessions, cache: KvCache) -> None:
        self.spec = spec
        self.cache = cache
        self._sessions = sessions
        self._pool = {
            f"{part}_{layer}": array
            for layer, pair in enumerate(cache.layers)
            for part, array in zip(("keys", "values"), pair, strict=True)
        }
        self._outputs = ["logits", *(f"new_{name}" for name in self._pool)]

    def run(self, feed: Feed, *, alone: bool = False) -> Outcome:
        """One pass; keys and values of the feed's first tokens go to its slots.

        Args:
            feed: The pass.
            alone: Whether nothing else runs, so that it may take all threads.
        """
        inputs = {
            "ids": feed.ids,
            "positions": feed.positions,
            "past": feed.past,
            "mask": feed.mask[None, None],
            "rows": feed.rows,
            **self._pool,
        }
        session = self._sessions.wide if alone else self._sessions.narrow
        logits, *new = session.run(self._outputs, inputs)
        self.cache.write(feed.slots, new)
        return Outcome(logits, logits.argmax(axis=1).tolist(), new)
