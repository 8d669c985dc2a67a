"""State of a run, from which a stopped one is resumed: ``state.pt``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from stream.errors import ConfigurationError

_OTHER = "is of another model or optimizer: use another output folder"
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False)


@dataclass(slots=True)
class RunState:
    """Everything that a step changes.

    Attributes:
        model: In training; its frozen weights are not saved, since the checkpoint they came from has them.
        optimisers: Each steps some of its weights.
        average: The running average of its weights, if there is one.
        sharded: Whether each process holds a part of every weight; all must then save and load together.
        step: Steps done.
        seconds: Time they took.
    """

    model: nn.Module
    optimisers: tuple[torch.optim.Optimizer, ...]
    average: nn.Module | None
    sharded: bool = False
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path, *, write: bool = True) -> None:
        """Write the state in place of an older one, at once.

        Args:
            path: The file.
            write: Whether this process writes it.
        """
        state = {
            "model": trained_weights(self.model, kept=write),
            "optimisers": get_optimizer_state_dict(self.model, self.optimisers, options=_WHOLE)
            if self.sharded
            else [optimiser.state_dict() for optimiser in self.optimisers],
            "average": None if self.average is None else trained_weights(self.average, kept=write),
            "counters": (self.step, self.seconds),
        }
        if write:
            fresh = path.with_suffix(".part")
            torch.save(state, fresh)
            fresh.rename(path)

    def load(self, path: Path, device: torch.device) -> None:
        """Read what ``save`` wrote.

        Raises:
            ConfigurationError: It is the state of another model or optimiser.
        """
        # torch.load does not know the "cpu:0" of one process among several.
        where = "cpu" if self.sharded or device.type == "cpu" else device
        state = torch.load(path, weights_only=True, map_location=where)
        for model, weights in ((self.model, state["model"]), (self.average, state["average"])):
            if model is not None:
                put_weights(model, weights, path, sharded=self.sharded)
        if self.sharded:
            set_optimizer_state_dict(self.model, self.optimisers, state["optimisers"], options=_WHOLE)
        else:
            _put_optimisers(self.optimisers, state["optimisers"], path)
        self.step, self.seconds = state["counters"]


def whole_weights(model: nn.Module, *, kept: bool) -> dict[str, Tensor]:
    """A model's whole state; where weights are sharded, every process must call this together.

    Args:
        model: Sharded or not.
        kept: True where this process gets the whole weights, on the CPU; else it only takes part.
    """
    return _put_together(model.state_dict(), kept=kept)


def trained_weights(model: nn.Module, *, kept: bool) -> dict[str, Tensor]:
    """The same without weights that are frozen."""
    frozen = _frozen(model)
    state = {name: value for name, value in model.state_dict().items() if name not in frozen}
    return _put_together(state, kept=kept)


def _put_together(state: Mapping[str, Tensor], *, kept: bool) -> dict[str, Tensor]:
    whole = {}
    for name, value in state.items():
        full = value.full_tensor() if isinstance(value, DTensor) else value
        if kept:  # one weight at a time: a device may not hold them all
            whole[name] = full.cpu() if isinstance(value, DTensor) else full
    return whole


def put_weights(model: nn.Module, weights: dict[str, Tensor], source: Path, *, sharded: bool) -> None:
    """Load whole weights into a model, which may be sharded.

    Args:
        model: All its weights that are not frozen must be given.
        weights: By name.
        source: The file or folder they are from, for messages.
        sharded: Whether each process holds a part of every weight.

    Raises:
        ConfigurationError: They are of another model.
    """
    try:
        if sharded:
            lacking, unknown = set_model_state_dict(model, weights, options=_WHOLE)
        else:
            lacking, unknown = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # shapes
        raise ConfigurationError(f"{source} {_OTHER}: {error}") from error
    odd = [name for name in lacking if name not in _frozen(model)] + list(unknown)
    if odd:
        raise ConfigurationError(f"{source} {_OTHER}: {odd[0]} is in one of them alone")


def _put_optimisers(
    optimisers: tuple[torch.optim.Optimizer, ...], states: list[dict[str, Any]], source: Path
) -> None:
    try:
        for optimiser, state in zip(optimisers, states, strict=True):
            optimiser.load_state_dict(state)
    except ValueError as error:
        raise ConfigurationError(f"{source} {_OTHER}: {error}") from error


def _frozen(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}
