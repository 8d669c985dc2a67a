"""Where a run computes, and how precisely."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import structlog
import torch
from torch import nn

from stream.errors import ConfigurationError

_TRIALS, _TOKENS, _WIDTH = 10, 512, 1024
log = structlog.get_logger(__name__)


def choose_device(name: str) -> torch.device:
    """The device a recipe names; ``auto`` is a GPU where there is one.

    Raises:
        ConfigurationError: A GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError('device = "cuda", but torch sees no GPU here: use "cpu" or "auto"')
    return torch.device(name)


def rounds_products(device: torch.device, wanted: bool | Literal["measured"]) -> bool:  # noqa: FBT001
    """Whether matrix products are to be in bfloat16; ``measured`` takes what is faster here."""
    if wanted != "measured" or device.type != "cpu":
        return bool(wanted)
    seconds = {dtype: _product_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    faster = min(seconds, key=lambda dtype: seconds[dtype])
    times = {str(dtype).removeprefix("torch."): round(1000 * each, 2) for dtype, each in seconds.items()}
    log.info("type of matrix products chosen", chosen=str(faster).removeprefix("torch."), ms=times)
    return faster is torch.bfloat16


@contextmanager
def products(device: torch.device, *, bfloat16: bool) -> Iterator[None]:
    """Matrix products in bfloat16 (sums in float32): always on a GPU, on a CPU where that is asked for."""
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16 or device.type == "cuda"):
        yield


@contextmanager
def compiled(layers: nn.ModuleList, device: torch.device) -> Iterator[None]:
    """On a GPU, fuse the kernels of each layer; one compilation serves all, since they are alike.

    Undone afterwards: a copy of a layer would go on calling the layer that it was copied from.
    """
    if device.type != "cuda":
        yield
        return
    for layer in layers:
        layer.forward = torch.compile(layer.forward, dynamic=True)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def to_device(values: Any, device: torch.device) -> torch.Tensor:
    """A numpy array on the device."""
    return torch.from_numpy(values).to(device, non_blocking=True)


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
