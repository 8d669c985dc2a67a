"""The matrix of runs on three brokers: how a part ends, which part, order and delivery, by five seeds."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import product
from typing import NamedTuple

from stream.settings import Delivery
from tests.delivery.fault_run import FaultRun

SEEDS = (1, 2, 3, 4, 5)
PARTITIONS = 12
PACE = 50.0  # documents a second of each run
BURST = 65  # so that a transaction holds several, as under load
_PATIENCE = 900.0
_ROLES = ("data_leader", "group_coordinator", "transaction_coordinator", "all_brokers")
_DEEDS = {
    "worker": {"clean": "terminate", "hard": "kill"},
    "broker": {"clean": "stop", "hard": "kill"},
}


class Cell(NamedTuple):
    """A cell of the matrix.

    Attributes:
        way: ``clean`` or ``hard``.
        part: ``worker`` or ``broker``.
        ordered: Whether outcomes of a key must come in its order.
        delivery: What the workers promise.
    """

    way: str
    part: str
    ordered: bool
    delivery: Delivery


def runs() -> Iterator[tuple[str, int, Cell]]:
    """Fault, seed and cell of each run; of the brokers each seed hits another, the last the first again."""
    for seed, (part, ways), way in product(SEEDS, _DEEDS.items(), ("clean", "hard")):
        role = f"{_ROLES[(seed - 1) % len(_ROLES)]}_" if part == "broker" else ""
        for ordered, delivery in product((False, True), Delivery):
            yield role + ways[way], seed, Cell(way, part, ordered, delivery)


class SharedFault:
    """A fault of the brokers for several runs at once: one of them injects it, and all note it.

    Args:
        inject: The fault.
        runs: Number of the runs.
    """

    def __init__(self, inject: Callable[[FaultRun], Awaitable[None]], runs: int) -> None:
        self._inject = inject
        self._met = asyncio.Barrier(runs)
        self._injected: FaultRun | None = None

    async def __call__(self, run: FaultRun) -> None:
        """Wait for the other runs, and return once the fault is over.

        Raises:
            TimeoutError: Another run has not come, or the fault does not end.
            BrokenBarrierError: Likewise.
        """
        async with asyncio.timeout(_PATIENCE):
            if await self._met.wait() == 0:
                await self._inject(run)
                self._injected = run
            await self._met.wait()
        if run is not self._injected:
            run.actions.extend(self._injected.actions)
