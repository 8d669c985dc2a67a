"""How much of what a machine can multiply goes into answers."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.evaluation.strategies import Totals

_SIDE = 1024
_TRIES = 5


@dataclass(frozen=True, slots=True)
class ModelArithmetic:
    """Floating-point operations of a model's matrix products; attention's own are left out, being few.

    Attributes:
        token: For every token read.
        row: For every token chosen: the output head.
    """

    token: float
    row: float

    @classmethod
    def of(cls, weights: Mapping[str, NDArray[np.float32]]) -> "ModelArithmetic":
        """Of a checkpoint's weights; a multiplication and an addition for each."""
        matrices = {name: weight for name, weight in weights.items() if weight.ndim == 2}  # noqa: PLR2004
        head = matrices.get("lm_head.weight", matrices["model.embed_tokens.weight"])
        token = sum(weight.size for name, weight in matrices.items() if ".layers." in name)
        return cls(2.0 * token, 2.0 * head.size)

    def useful(self, totals: Totals) -> float:
        """Operations that answers needed; drafts that were rejected are waste."""
        rejected = sum(totals.drafted.values()) - sum(totals.accepted.values())
        return (totals.read - rejected) * self.token + totals.produced * self.row


def machine_rate() -> float:
    """Operations a second of a large fp32 matrix product on all cores, the best of a few tries."""
    side = np.random.default_rng(0).standard_normal((_SIDE, _SIDE), dtype=np.float32)
    best = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        side @ side
        best = min(best, time.perf_counter() - began)
    return 2.0 * _SIDE**3 / best
