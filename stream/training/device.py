"""Where a run computes, and how precisely."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from stream.errors import ConfigurationError


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
