"""The forward pass: a feed in; logits, keys and values out."""

from pathlib import Path

import onnxruntime

from stream.engine.batch import Feed
from stream.engine.checkpoint import Checkpoint, ModelSpec
from stream.engine.kv_cache import KvCache
from stream.engine.outcome import Outcome
from stream.engine.session import default_cache_folder, open_session


class ForwardPass:
    """Runs feeds over one session and one pool of keys and values; several threads may run at once.

    Args:
        spec: The model's shapes.
        session: Over the graph of ``stream.engine.graph``.
        cache: The pool; a feed's slots must be the caller's own.
    """

    def __init__(self, spec: ModelSpec, session: onnxruntime.InferenceSession, cache: KvCache) -> None:
        self.spec = spec
        self.cache = cache
        self._session = session
        self._outputs = ["logits", "normaliser"]
        self._outputs += [
            f"{part}_{layer}" for layer in range(spec.layers) for part in ("new_keys", "new_values")
        ]
        self._pool = {
            f"{part}_{layer}": array
            for layer, pair in enumerate(cache.layers)
            for part, array in zip(("keys", "values"), pair, strict=True)
        }

    @classmethod
    def load(cls, folder: Path, *, slots: int, graph_cache: Path | None = None) -> "ForwardPass":
        """Over a Hugging Face model folder.

        Args:
            folder: The model.
            slots: Bound of the pool of keys and values, in tokens.
            graph_cache: Where built graphs are kept; by default the user's cache folder.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        checkpoint = Checkpoint.open(folder)
        session = open_session(checkpoint, graph_cache or default_cache_folder())
        return cls(checkpoint.spec, session, KvCache(checkpoint.spec, slots))

    def run(self, feed: Feed) -> Outcome:
        """One pass; keys and values of the feed's first tokens go to its slots."""
        inputs = {
            "ids": feed.ids,
            "positions": feed.positions,
            "past": feed.past,
            "mask": feed.mask,
            "rows": feed.rows,
            **self._pool,
        }
        logits, normalisers, *new = self._session.run(self._outputs, inputs)
        self.cache.write(feed.slots, new)
        return Outcome(logits, normalisers[:, 0], logits.argmax(axis=1).tolist(), new)
