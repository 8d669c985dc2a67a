"""A run as its fault sees it: workers, the broker and the model, and chance that follows the seed."""

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.delivery.history import now
from tests.integration.kafka_fixture import RunningKafka
from tests.integration.worker_fixture import Bench, WorkerProcess

_PROGRAM = "tests.delivery.recording_worker"


@dataclass
class FaultRun:
    """A run that a fault may change: it kills, freezes and starts workers and the broker.

    Attributes:
        random: Seeded; decides victims and pauses.
        bench: Topics and workers.
        broker: The broker.
        away: The model is unavailable while this file exists.
        bug: Planted bug of the workers.
        actions: Deeds of the fault, each with its time.
    """

    random: random.Random
    bench: Bench
    broker: RunningKafka
    away: Path
    bug: str | None = None
    actions: list[dict[str, Any]] = field(default_factory=list)

    def start_worker(self) -> WorkerProcess:
        """Start a worker that keeps a journal."""
        name = f"worker-{len(self.bench.workers)}"
        journal = self.bench.folder / f"{name}.jsonl"
        journal.touch()
        bugs = () if self.bug is None else (self.bug,)
        return self.bench.start_worker(("-m", _PROGRAM, name, str(journal), *bugs))

    def alive(self) -> list[WorkerProcess]:
        """Workers whose process runs."""
        return [worker for worker in self.bench.workers if worker.process.poll() is None]

    def victim(self) -> WorkerProcess:
        """A worker that runs, by chance."""
        return self.random.choice(self.alive())

    async def pause(self, shortest: float, longest: float) -> None:
        """Let the run go on for so many seconds."""
        await asyncio.sleep(self.random.uniform(shortest, longest))

    def note(self, action: str, worker: WorkerProcess | None = None) -> None:
        """Note a deed, done to a worker or to the broker."""
        subject = "broker" if worker is None else f"worker-{self.bench.workers.index(worker)}"
        self.actions.append({"time": now(), "action": action, "to": subject})
