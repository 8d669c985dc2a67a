"""The KV cache: keys and values in plain arrays, one slot per token, read in place by the graph."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.engine.model.checkpoint import FloatArray
from stream.engine.model.config import ModelSpec

SlotArray = NDArray[np.int64]


class KvCache:
    """A bounded set of slots. Not thread-safe, except ``write`` to slots that the caller owns.

    The arrays have their full size from the start, but the operating system backs only the slots that were
    written. Freed slots are reused first, so memory grows with use up to the bound.

    Args:
        spec: The model's shapes.
        slots: The bound, in tokens.
    """

    def __init__(self, spec: ModelSpec, slots: int) -> None:
        self.slots = slots
        self.layers: tuple[tuple[FloatArray, FloatArray], ...] = tuple(
            (np.zeros((slots, spec.kv_width), np.float32), np.zeros((slots, spec.kv_width), np.float32))
            for _ in range(spec.layers)
        )
        self._free: SlotArray = np.arange(slots - 1, -1, -1, dtype=np.int64)
        self._free_count = slots

    @staticmethod
    def bytes_per_slot(spec: ModelSpec) -> int:
        """Bytes of one token's keys and values over all layers."""
        return 2 * spec.layers * spec.kv_width * np.dtype(np.float32).itemsize

    @property
    def free(self) -> int:
        """Number of free slots."""
        return self._free_count

    @property
    def used(self) -> int:
        """Number of allocated slots."""
        return self.slots - self._free_count

    def allocate(self, count: int) -> SlotArray:
        """Take ``count`` slots, at most ``free``."""
        self._free_count -= count
        return self._free[self._free_count : self._free_count + count].copy()

    def release(self, slots: SlotArray) -> None:
        """Free slots."""
        self._free[self._free_count : self._free_count + len(slots)] = slots
        self._free_count += len(slots)

    def write(self, slots: SlotArray, new: Sequence[FloatArray], rows: SlotArray | None = None) -> None:
        """Store new keys and values.

        Args:
            slots: Destination, one slot per token.
            new: Keys and values of every layer in turn, each (1, tokens or more, kv_width).
            rows: Indices of the tokens to store; by default the first ones.
        """
        chosen = slice(len(slots)) if rows is None else rows
        for layer, (keys, values) in enumerate(self.layers):
            keys[slots] = new[2 * layer][0, chosen]
            values[slots] = new[2 * layer + 1][0, chosen]
