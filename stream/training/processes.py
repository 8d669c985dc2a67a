"""The processes that train one model together, one a device, and their children."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from threading import Thread
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
_LOOK_SECONDS = 1.0


def end_with_parent(parent: int, _worker: int = 0) -> None:
    """End this process soon after its parent has ended, however that ended.

    A worker of a ``DataLoader`` looks for its parent too, but then waits for ever to hand over its last
    batch; and ``accelerate launch`` leaves its processes behind when it is killed.

    Args:
        parent: Process id.
        _worker: Number of a ``DataLoader``'s worker, unused.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


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
            end_with_parent(os.getppid())
            self._state = PartialState(cpu=self.device.type == "cpu", timeout=_PATIENCE)
            self.device = self._state.device
        self.sharded = sharded and self._state is not None

    @property
    def count(self) -> int:
        """Number of processes."""
        return int(self._state.num_processes) if self._state else 1

    @property
    def number(self) -> int:
        """Number of this process, from 0."""
        return int(self._state.process_index) if self._state else 0

    @property
    def is_first(self) -> bool:
        """True of process 0, which alone writes files."""
        return self.number == 0

    @contextmanager
    def first_one_first(self) -> Iterator[None]:
        """Let the others enter when the first one has left, so that they find the files it has made."""
        with self._state.main_process_first() if self._state else nullcontext():
            yield

    def prepare(self, model: TrainingModel) -> nn.Module:
        """Wrap the model so that the gradients of this process's losses become those of all processes."""
        if self._state is None:
            return model
        if not self.sharded:
            return DistributedDataParallel(model, forward_sync_buffers=False)
        self.shard(model)
        return model

    def shard(self, model: TrainingModel) -> None:
        """Shard the weights over the processes, where the recipe asks for it."""
        if self.sharded:
            for layer in decoder_layers(model.causal):
                fully_shard(layer)
            fully_shard(model)

    def keep_gradients(self, model: nn.Module) -> AbstractContextManager[None]:
        """Keep gradients made inside to this process until later ones are shared."""
        if isinstance(model, DistributedDataParallel):
            quiet: AbstractContextManager[None] = model.no_sync()
            return quiet
        return nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self._state:
            torch.distributed.all_reduce(values)
        return values

    def close(self) -> None:
        """Leave the process group."""
        if self._state:
            self._state.destroy_process_group()

    def broadcast(self, value: Any) -> Any:
        """The first process's value, in every process."""
        return broadcast_object_list([value])[0] if self._state else value
