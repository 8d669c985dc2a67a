"""A run as its fault sees it: workers, the broker and the model, and chance that follows the seed."""

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.delivery.history import now
from tests.delivery.network.isolation import Isolation
from tests.delivery.network.proxy import KafkaProxy
from tests.integration.kafka_cluster import RunningCluster
from tests.integration.kafka_fixture import RunningKafka
from tests.integration.triton_fixture import RunningTriton
from tests.integration.worker_fixture import Bench, WorkerProcess

_PROGRAM = "tests.delivery.recording_worker"


@dataclass
class FaultRun:
    """A run that a fault may change: it kills, freezes and starts workers and the broker.

    Attributes:
        random: Seeded; decides victims and pauses.
        bench: Topics and workers.
        broker: The broker, or all brokers of a cluster.
        proxy: Proxy that a worker's traffic may pass; none before a cluster.
        triton: The model server, where it is not the workers' own script that answers.
        away: The model is unavailable while this file exists.
        bug: Planted bug of the workers.
        actions: Deeds of the fault, each with its time.
    """

    random: random.Random
    bench: Bench
    broker: RunningKafka | RunningCluster
    proxy: KafkaProxy | None
    triton: RunningTriton | None
    away: Path
    bug: str | None = None
    actions: list[dict[str, Any]] = field(default_factory=list)

    def start_worker(self) -> WorkerProcess:
        """Start a worker that keeps a journal; the first one behind the proxy."""
        name = f"worker-{len(self.bench.workers)}"
        journal = self.bench.folder / f"{name}.jsonl"
        journal.touch()
        bugs = () if self.bug is None else (self.bug,)
        return self.bench.start_worker(
            ("-m", _PROGRAM, name, str(journal), *bugs),
            broker=self.broker.bootstrap if self.bench.workers or not self.proxy else self.proxy.bootstrap,
        )

    @property
    def proxied(self) -> WorkerProcess:
        """The worker behind the proxy: the first."""
        return self.bench.workers[0]

    async def cut_off(self, isolation: Isolation) -> None:
        """Cut the worker behind the proxy off for longer than its session."""
        await self.pause(1, 4)
        self.note("isolate", self.proxied)
        async with self.proxy.under(isolation):
            await self.outlast_session()
        isolation.end()
        self.note("connect", self.proxied)
        await self.pause(2, 4)

    async def outlast_session(self) -> None:
        """Let the run go on until the group has given away the partitions of a worker that is silent."""
        session = self.bench.settings.session_timeout
        await self.pause(session + 4, session + 8)

    def step_clock(self, worker: WorkerProcess, seconds: float) -> None:
        """Set a worker's clock so many seconds ahead of the machine's."""
        name = f"worker-{self.bench.workers.index(worker)}"
        written = self.bench.folder / f"{name}.step"
        written.write_text(str(seconds))
        written.rename(self.bench.folder / f"{name}.clock")
        self.note(f"clock {seconds:+.0f} s", worker)

    def alive(self) -> list[WorkerProcess]:
        """Workers whose process runs."""
        return [worker for worker in self.bench.workers if worker.process.poll() is None]

    def victim(self) -> WorkerProcess:
        """A worker that runs, by chance."""
        return self.random.choice(self.alive())

    async def pause(self, shortest: float, longest: float) -> None:
        """Let the run go on for so many seconds."""
        await asyncio.sleep(self.random.uniform(shortest, longest))

    def note(self, action: str, worker: WorkerProcess | None = None, *, to: str = "broker") -> None:
        """Note a deed, done to a worker, or else to what ``to`` names."""
        subject = to if worker is None else f"worker-{self.bench.workers.index(worker)}"
        self.actions.append({"time": now(), "action": action, "to": subject})
