"""Decoding by the single-device script of PaDeLLM-NER's authors: prompts are rows of a padded batch.

Every row reads its whole prompt, even a prefix that it shares with others. Rows step together until all are
done, and each has its own keys and values. The graph is the engine's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stream.bench.cases import Forced
from stream.engine.model.config import ModelSpec
from stream.engine.model.session import Model

_HIDDEN = np.float32(-1e9)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BatchRun:
    """Passes, tokens and answers of a batch.

    Attributes:
        passes: Sequential forward passes.
        tokens_read: Tokens through the model, padding included.
        chosen: The likeliest token at every step of each row's answer.
    """

    passes: int
    tokens_read: int
    chosen: list[tuple[int, ...]]


class PaddedBatch:
    """Decodes batches with forced answers; may be used by several threads at once.

    Args:
        model: Its graph takes one row or several.
    """

    def __init__(self, model: Model) -> None:
        self._spec = model.spec
        self._sessions = model.sessions

    def decode(self, rows: Sequence[Forced], *, alone: bool = False) -> BatchRun:
        """Decode prompts in lock-step, each to its forced answer.

        Args:
            rows: At least one.
            alone: Whether passes may take all threads, since nothing else runs.
        """
        session = self._sessions.wide if alone else self._sessions.narrow
        width, steps = max(len(row.prompt.ids) for row in rows), max(row.steps for row in rows)
        cache = _RowCache.of(self._spec, len(rows), width + steps - 1)
        ids = np.zeros((len(rows), width), np.int64)
        padding = np.array([width - len(row.prompt.ids) for row in rows])
        for index, row in enumerate(rows):
            ids[index, padding[index] :] = row.prompt.ids
        likeliest = [self._forward(session, cache, ids, padding)]
        for step in range(1, steps):
            # Finished rows go on with padding.
            forced = [row.answer[step - 1] if step <= len(row.answer) else row.prompt.end_id for row in rows]
            likeliest.append(self._forward(session, cache, np.array(forced, np.int64)[:, None], padding))
        chosen = [
            tuple(each[: row.steps]) for row, each in zip(rows, zip(*likeliest, strict=True), strict=True)
        ]
        return BatchRun(steps, len(rows) * (width + steps - 1), chosen)

    @staticmethod
    def _forward(
        session: onnxruntime.InferenceSession,
        cache: "_RowCache",
        ids: NDArray[np.int64],
        padding: NDArray[np.int64],
    ) -> list[int]:
        """Run a block of tokens in every row and cache keys and values; the likeliest next token of each."""
        batch, new = ids.shape
        past, total = cache.used, cache.used + new
        columns = np.arange(total)
        seen = (columns <= columns[past:, None]) & (columns >= padding[:, None, None])
        names = ["logits", *cache.new_names]
        logits, *kept = session.run(
            names,
            {
                "ids": ids,
                "positions": np.maximum(columns[past:] - padding[:, None], 0),
                "past": cache.slots[:, :past],
                "mask": np.where(seen, np.float32(0), _HIDDEN)[:, None],
                "rows": np.array([new - 1], np.int64),
                **cache.pool,
            },
        )
        cache.keep(kept)
        likeliest: list[int] = logits.reshape(batch, -1).argmax(axis=1).tolist()
        return likeliest


@dataclass(slots=True)
class _RowCache:
    """Keys and values of all rows, by layer: row b owns slots b * length to (b + 1) * length."""

    slots: NDArray[np.int64]
    pool: dict[str, FloatArray]
    used: int = 0

    @classmethod
    def of(cls, spec: ModelSpec, rows: int, length: int) -> "_RowCache":
        pool = {
            f"{part}_{layer}": np.empty((rows * length, spec.kv_width), np.float32)
            for layer in range(spec.layers)
            for part in ("keys", "values")
        }
        return cls(np.arange(rows * length).reshape(rows, length), pool)

    @property
    def new_names(self) -> list[str]:
        return [f"new_{name}" for name in self.pool]

    def keep(self, new: list[FloatArray]) -> None:
        count = new[0].shape[1]
        into = self.slots[:, self.used : self.used + count]
        for kept, added in zip(self.pool.values(), new, strict=True):
            kept[into] = added
        self.used += count
