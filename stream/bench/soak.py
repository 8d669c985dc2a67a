"""``padellm bench soak``: memory of the whole stack while many documents go through it."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from stream.bench.load import bench_documents, unlike_copies
from stream.bench.stack import bench_stack, through_kafka, usages
from stream.contract.messages import Document
from stream.evaluation.tables import terminal_table
from stream.local.plan import while_running
from stream.local.supervisor import Supervisor
from stream.settings import Settings

# Caches fill and allocators settle before growth is judged.
_WARM_UP = 0.25
_STEP = 10_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory at one moment.

    Attributes:
        documents: Number finished by then.
        resident_mb: Resident memory in MiB, by process.
    """

    documents: int
    resident_mb: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MemoryTrend:
    """One process's memory over a run, in MiB.

    Attributes:
        first: At the first sample.
        warm: After the first quarter of the documents, on the line fitted to all samples from there on.
        last: At the last document, on that line.
        most: The largest sample.
        per_10k: The line's slope: MiB for 10,000 documents.
    """

    first: float
    warm: float
    last: float
    most: float
    per_10k: float


def memory_trend(samples: Sequence[Sample], process: str) -> MemoryTrend:
    """Fit a line by least squares to a process's memory after the warm-up.

    Args:
        samples: In order; all of them hold the process, and at least two follow the first quarter of the
            documents.
        process: Its name.
    """
    documents = np.array([sample.documents for sample in samples])
    memory = np.array([sample.resident_mb[process] for sample in samples])
    warm = documents >= _WARM_UP * documents[-1]
    slope, start = np.polyfit(documents[warm], memory[warm], 1)
    on_line = start + slope * documents[warm]
    return MemoryTrend(
        float(memory[0]), float(on_line[0]), float(on_line[-1]), float(memory.max()), float(slope * _STEP)
    )


# Processes of the service; this program only drives it.
PROCESSES = ("kafka", "triton", "triton's engine", "worker")
_SAMPLES = 400
# Sent as one round trip, which keeps its documents until all have come back.
_TOGETHER = 2000


@dataclass(slots=True)
class Soaked:
    """Results of a run.

    Attributes:
        documents: Streamed, each of which became an event.
        seconds: From the first to the last.
        samples: In order.
    """

    documents: int
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)


async def run(file: str | None, *, limit: int, model: Path | None) -> Soaked:
    """Start the stack, stream documents through it, and sample its memory.

    Args:
        file: Documents, repeated with a new number each time; None takes the samples.
        limit: Documents to stream.
        model: Model folder; None takes the settings' one.

    Raises:
        ConfigurationError: The file cannot be read or holds no document.
        StackError: A part does not start or fails permanently, or documents do not become events.
        CheckpointError: The folder holds no model that can be served.
    """
    documents = bench_documents(file, limit)
    console = Console(stderr=True)
    soaked = Soaked(limit)
    with console.status("starting Kafka, Triton and the worker") as status:
        async with bench_stack(model) as (settings, supervisor):
            watch = _Watch(soaked, supervisor, status.update)
            await while_running(supervisor, _stream(documents, settings, watch))
    return soaked


class _Watch:
    """Counts events, and takes samples of the stack's memory between them."""

    def __init__(self, soaked: Soaked, supervisor: Supervisor, show: Any) -> None:
        self._soaked = soaked
        self._supervisor = supervisor
        self._show = show
        self._every = max(1, soaked.documents // _SAMPLES)
        self._done = 0

    @property
    def left(self) -> int:
        return self._soaked.documents - self._done

    def event(self) -> None:
        self._done += 1
        if self._done % self._every == 0:
            taken = usages(self._supervisor)
            held = {name: taken[name].resident_mb for name in PROCESSES if name in taken}
            self._soaked.samples.append(Sample(self._done, held))
            shown = ", ".join(f"{name} {each:.0f}" for name, each in held.items())
            self._show(f"{self._done:,} of {self._soaked.documents:,} documents; MiB: {shown}")

    def ended(self, began: float) -> None:
        self._soaked.seconds = time.perf_counter() - began


async def _stream(documents: Sequence[Document], settings: Settings, watch: _Watch) -> None:
    began = time.perf_counter()
    endless = (document for copy in unlike_copies(documents) for document in copy)
    while watch.left:
        together = list(islice(endless, min(_TOGETHER, watch.left)))
        await through_kafka(together, settings, on_event=watch.event)
    watch.ended(began)


def summary(soaked: Soaked) -> dict[str, Any]:
    """The figures as JSON."""
    found = {name: memory_trend(soaked.samples, name) for name in _measured(soaked)}
    return {
        "documents": soaked.documents,
        "documents_per_second": round(soaked.documents / soaked.seconds, 2),
        "processes": {
            name: {
                "first_mib": round(each.first, 1),
                "warm_mib": round(each.warm, 1),
                "last_mib": round(each.last, 1),
                "most_mib": round(each.most, 1),
                "mib_per_10k_documents": round(each.per_10k, 2),
            }
            for name, each in found.items()
        },
    }


def show(soaked: Soaked) -> None:
    """Print a table on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    rate = soaked.documents / soaked.seconds
    console.print(
        f"{soaked.documents:,} documents, all of them events, in {soaked.seconds:.0f} s ({rate:.0f}/s)"
    )
    console.print("Resident memory in MiB; growth fitted to what came after the first quarter\n")
    table = terminal_table("Process", "first", "warm", "last", "most", "growth in 10,000 documents")
    for name in _measured(soaked):
        each = memory_trend(soaked.samples, name)
        figures = (each.first, each.warm, each.last, each.most)
        table.add_row(name, *(f"{figure:.1f}" for figure in figures), f"{each.per_10k:+.2f}")
    console.print(table)


def _measured(soaked: Soaked) -> list[str]:
    """Processes that every sample holds; none on a system that does not report them."""
    return [name for name in PROCESSES if all(name in sample.resident_mb for sample in soaked.samples)]
