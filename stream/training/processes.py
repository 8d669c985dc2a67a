"""The processes that train one model together, one a device."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from stream.training.causal import decoder_layers
from stream.training.model import TrainingModel, choose_device

# While the first process scores a model or reads plain text, the others wait.
_PATIENCE = timedelta(days=7)


class Processes:
    """This process among those that `accelerate launch` or `torchrun` started; by itself it is the only one.

    Args:
        device: As a recipe names it.
        sharded: Give each process a part of every weight instead of a copy.
    """

    def __init__(self, device: str, *, sharded: bool) -> None:
        self.device = choose_device(device)
        self._state: Any = None
        if torch.distributed.is_torchelastic_launched():
            self._state = PartialState(cpu=self.device.type == "cpu", timeout=_PATIENCE)
            self.device = self._state.device
        self.sharded = sharded and self._state is not None

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._state.num_processes) if self._state else 1

    @property
    def number(self) -> int:
        """Which one this is; 0 writes files."""
        return int(self._state.process_index) if self._state else 0

    @property
    def is_first(self) -> bool:
        """Whether this one writes files."""
        return self.number == 0

    @contextmanager
    def first_one_first(self) -> Iterator[None]:
        """The others enter when the first one has left: they find what it has made."""
        with self._state.main_process_first() if self._state else nullcontext():
            yield

    def prepare(self, model: TrainingModel) -> nn.Module:
        """What computes the losses in this process, so that gradients become those of all."""
        if self._state is None:
            return model
        if not self.sharded:
            return DistributedDataParallel(model, forward_sync_buffers=False)
        self.shard(model)
        return model

    def shard(self, model: TrainingModel) -> None:
        """Leave this process its part of every weight, where weights are parted."""
        if self.sharded:
            for layer in decoder_layers(model.causal):
                fully_shard(layer)
            fully_shard(model)

    def keep_gradients(self, model: nn.Module) -> AbstractContextManager[None]:
        """Gradients made inside stay with this process until later ones are shared."""
        if isinstance(model, DistributedDataParallel):
            quiet: AbstractContextManager[None] = model.no_sync()
            return quiet
        return nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self._state:
            torch.distributed.all_reduce(values)
        return values

    def part(self) -> None:
        """Say goodbye to the others."""
        if self._state:
            self._state.destroy_process_group()

    def told_by_first(self, value: Any) -> Any:
        """What the first process says, whatever this one would."""
        return broadcast_object_list([value])[0] if self._state else value
