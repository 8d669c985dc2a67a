"""What a run goes on from when it was stopped: ``state.pt``."""

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

_OTHER = "state.pt in the output folder is of a run with another model: use another output folder"
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)


@dataclass(slots=True)
class RunState:
    """All that a step changes.

    Attributes:
        model: In training; its frozen weights are not saved, since they are where they were loaded from.
        optimiser: Steps it.
        average: The running average of its weights, if there is one.
        sharded: Whether each process holds a part of every weight; all must then save and load together.
        step: Steps done.
        seconds: Time they took.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
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
            "model": trained_weights(self.model),
            "optimiser": get_optimizer_state_dict(self.model, self.optimiser, options=_WHOLE)
            if self.sharded
            else self.optimiser.state_dict(),
            "average": None if self.average is None else trained_weights(self.average),
            "counters": (self.step, self.seconds),
        }
        if write:
            fresh = path.with_suffix(".part")
            torch.save(state, fresh)
            fresh.rename(path)

    def load(self, path: Path, device: torch.device) -> None:
        """Read what ``save`` wrote.

        Raises:
            ConfigurationError: It is the state of another model.
        """
        state = torch.load(path, weights_only=True, map_location="cpu" if self.sharded else device)
        if self.sharded:
            set_model_state_dict(self.model, state["model"], options=_WHOLE)
            set_optimizer_state_dict(self.model, self.optimiser, state["optimiser"], options=_WHOLE)
        else:
            _put(self.model, state["model"])
            _put_optimiser(self.optimiser, state["optimiser"])
        if self.average is not None:
            _put(self.average, state["average"])
        self.step, self.seconds = state["counters"]


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """A model's state, put together where each process holds a part; all must ask for it together."""
    return {
        name: value.full_tensor() if isinstance(value, DTensor) else value
        for name, value in model.state_dict().items()
    }


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The same without weights that are frozen."""
    frozen = _frozen(model)
    return {name: value for name, value in whole_weights(model).items() if name not in frozen}


def _put(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    try:
        lacking, unknown = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # shapes
        raise ConfigurationError(f"{_OTHER}: {error}") from error
    odd = [name for name in lacking if name not in _frozen(model)] + list(unknown)
    if odd:
        raise ConfigurationError(f"{_OTHER}: {odd[0]} is in one of them alone")


def _put_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    try:
        optimiser.load_state_dict(state)
    except ValueError as error:
        raise ConfigurationError(f"{_OTHER}: {error}") from error


def _frozen(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}
