"""The matrix of runs on three brokers: how a part ends, which part, order and delivery, each with five seeds.

The runs of a round go on at once, and one fault of the brokers hits all of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import product
from typing import NamedTuple

from stream.settings import Delivery
from tests.delivery.fault_run import FaultRun

SEEDS = (1, 2, 3, 4, 5)
PARTITIONS = 12
PACE = 25.0  # documents a second of each run
BURST = 65  # so that a transaction holds several, as under load
_PATIENCE = 900.0
_ROLES = ("data_leader", "group_coordinator", "transaction_coordinator", "all_brokers")
_WORKERS = {"clean": "terminate", "hard": "kill"}
_BROKERS = {"clean": "stop", "hard": "kill"}


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


class Round(NamedTuple):
    """Runs of one seed that go on at once: under faults of the workers, or under one of the brokers."""

    seed: int
    part: str
    runs: tuple[tuple[str, Cell], ...]


def rounds() -> Iterator[Round]:
    """All rounds; of the brokers each seed hits another one, the last again the first."""
    for seed in SEEDS:
        role = _ROLES[(seed - 1) % len(_ROLES)]
        yield Round(seed, "worker", tuple(_runs("worker", _WORKERS)))
        for way, deed in _BROKERS.items():
            yield Round(seed, "broker", tuple(_runs("broker", {way: f"{role}_{deed}"})))


def _runs(part: str, faults: dict[str, str]) -> Iterator[tuple[str, Cell]]:
    """The runs of all orders and deliveries under faults, which are named by their ways."""
    for (way, fault), ordered, delivery in product(faults.items(), (False, True), Delivery):
        yield fault, Cell(way, part, ordered, delivery)


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
