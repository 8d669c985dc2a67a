"""The type that matrix products are computed in, chosen by a measurement where the recipe leaves it to one.

On processors with AVX512-BF16 or AMX products in bfloat16 take half the time of those in float32, on others
several times as much.
"""

import time
from typing import Literal

import structlog
import torch
from torch import nn

_TRIALS, _TOKENS, _WIDTH = 10, 512, 1024
log = structlog.get_logger(__name__)


def in_bfloat16(device: torch.device, wanted: bool | Literal["measured"]) -> bool:  # noqa: FBT001
    """The recipe's choice; for ``measured`` on a CPU the faster type of the two."""
    if wanted != "measured" or device.type != "cpu":
        return bool(wanted)
    seconds = {dtype: _product_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    faster = min(seconds, key=lambda dtype: seconds[dtype])
    times = {str(dtype).removeprefix("torch."): round(1000 * each, 2) for dtype, each in seconds.items()}
    log.info("type of matrix products chosen", chosen=str(faster).removeprefix("torch."), ms=times)
    return faster is torch.bfloat16


def _product_seconds(dtype: torch.dtype) -> float:
    """Shortest of some trials of the three products of a linear layer: other programs only lengthen them."""
    tokens = torch.ones(_TOKENS, _WIDTH, dtype=dtype, requires_grad=True)
    weight = torch.ones(_WIDTH, _WIDTH, dtype=dtype, requires_grad=True)
    shortest = float("inf")
    for _ in range(_TRIALS):
        started = time.perf_counter()
        nn.functional.linear(tokens, weight).sum().backward()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest
