"""The stack under ``padellm bench serve`` and ``soak``: its parts, documents through it, and their usage."""

import os
import re
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from stream.bench.load import Serving
from stream.contract.messages import Document
from stream.errors import StackError
from stream.kafka.records import OutgoingRecord
from stream.kafka.round_trip import DocumentOutcome, round_trip
from stream.local.plan import running_stack
from stream.local.supervisor import ServiceState, StateChange, Supervisor
from stream.settings import Inference, Settings


@asynccontextmanager
async def bench_stack(model: Path | None) -> AsyncIterator[tuple[Settings, Supervisor]]:
    """Kafka, Triton and the worker, ready, on ports and in a folder of their own.

    Raises:
        StackError: A part does not start.
        CheckpointError: The folder holds no model that can be served.
    """
    chosen = {"inference": Inference.TRITON, "model": model or Settings().model}
    # Nothing counts as set: a benchmark must not load a broker or Triton that the environment names.
    settings = Settings.model_construct(_fields_set=set(), **(Settings().model_dump() | chosen))
    with tempfile.TemporaryDirectory(prefix="padellm-bench-") as folder:
        stack = running_stack(settings, data_dir=Path(folder), on_change=report_death)
        async with stack as (plan, supervisor):
            yield plan.settings, supervisor


async def through_kafka(
    documents: Sequence[Document],
    settings: Settings,
    *,
    rate: float | None = None,
    on_event: Callable[[float], None] = lambda _: None,
) -> Serving:
    """Send documents to the worker and wait for all their events.

    A document arrives when it is due, or without a rate when its turn comes; what the producer or the broker
    then makes it wait counts.

    Args:
        documents: At least one.
        settings: Of the stack.
        rate: Documents a second; None sends as many as the worker takes.
        on_event: Called at each event with the seconds since its document arrived.

    Raises:
        StackError: A document had no outcome, or became a dead letter.
    """
    # Twice the worker's documents in flight are on their way: it is never idle, and no document waits in a
    # long queue.
    unanswered = threading.Semaphore(2 * settings.max_in_flight)
    # By identity: the round trip hands each record back, and two may be equal.
    arrivals: dict[int, float] = {}
    answers: list[float] = []
    latencies: list[float] = []

    def answered(record: OutgoingRecord, _outcome: DocumentOutcome) -> None:
        answers.append(time.perf_counter())
        latencies.append(answers[-1] - arrivals[id(record)])
        unanswered.release()
        on_event(latencies[-1])

    def arriving() -> Iterator[OutgoingRecord]:
        for arrival, record in _paced(documents, unanswered if rate is None else None, rate):
            arrivals[id(record)] = arrival
            yield record

    summary = await round_trip(arriving(), settings=settings, on_outcome=answered)
    if summary.dead_letters:
        raise StackError(f"{summary.dead_letters} of {summary.documents} documents became dead letters")
    return Serving.of(latencies, answers[-1] - min(arrivals.values()))


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time and memory of a program; the usage of several is their sum.

    Attributes:
        processor_seconds: Time on a core, in user and system mode together.
        resident_mb: Resident memory now, in MiB.
        peak_mb: Its peak, in MiB; 0 on systems other than Linux.
    """

    processor_seconds: float = 0.0
    resident_mb: float = 0.0
    peak_mb: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.processor_seconds + other.processor_seconds,
            self.resident_mb + other.resident_mb,
            self.peak_mb + other.peak_mb,
        )


def usage(pid: int) -> Usage | None:
    """Usage of one process so far; None if it has ended or may not be read."""
    try:
        process = psutil.Process(pid)
        times, resident = process.cpu_times(), process.memory_info().rss
        return Usage(times.user + times.system, resident / 2**20, _peak_mb(pid))
    except (psutil.Error, OSError):
        return None


def usage_below(pid: int) -> Usage | None:
    """Usage of a process's descendants together; None as for ``usage``."""
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return None
    return sum((each for child in below if (each := usage(child.pid)) is not None), Usage())


def _peak_mb(pid: int) -> float:
    """Peak resident memory, which psutil has for Windows alone."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


def usages(supervisor: Supervisor) -> dict[str, Usage]:
    """Usage so far of this program and of every program of the stack that can be read.

    Triton's python backend runs the engine in a process below Triton's own.
    """
    pids = supervisor.pids()
    found = {
        "this program": usage(os.getpid()),
        "kafka": usage(pids["kafka"]),
        "triton": usage(pids["triton"]),
        "triton's engine": usage_below(pids["triton"]),
        "worker": usage(pids["worker"]),
    }
    return {name: each for name, each in found.items() if each is not None}


def _paced(
    documents: Sequence[Document], unanswered: threading.Semaphore | None, rate: float | None
) -> Iterator[tuple[float, OutgoingRecord]]:
    """Records with their arrivals, each as soon as fewer are in flight or it is due.

    It blocks, so a thread must read it. A record that is read late was due all the same.
    """
    began = time.perf_counter()
    for at, document in enumerate(documents):
        if unanswered is not None:
            unanswered.acquire()
        arrival = time.perf_counter() if rate is None else began + at / rate
        time.sleep(max(0.0, arrival - time.perf_counter()))
        value = document.model_dump_json(exclude_defaults=True).encode()
        yield arrival, OutgoingRecord(document.id.encode() or None, value, document.text)


def report_death(change: StateChange) -> None:
    """Say on stderr that a service died: the figures of the run are no good."""
    if change.state is ServiceState.DIED:
        message = (
            f"{change.service.name} died and is started again: measure anew, this run's figures are no good"
        )
        Console(stderr=True).print(message, style="red")
