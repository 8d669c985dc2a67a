"""``padellm bench soak``: memory, lag and latency of the whole stack while many documents go through it."""

import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from stream.bench.load import bench_documents, unlike_copies
from stream.bench.stack import bench_stack, through_kafka, usages
from stream.contract.messages import Document
from stream.errors import StackError
from stream.evaluation.tables import terminal_table
from stream.local.plan import while_running
from stream.local.supervisor import Supervisor
from stream.settings import Settings

# Caches fill and allocators settle before growth is judged: five minutes of half an hour.
_WARM_UP = 1 / 6
_STEP = 10_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The stack at one moment.

    Attributes:
        documents: Number finished by then.
        resident_mb: Resident memory in MiB, by process.
        seconds: Since the first document.
        lag: Records without an outcome, as the worker's metrics have it.
        p50_ms: Median time of the documents since the sample before, from arrival to event.
        p99_ms: 99th percentile of the same.
    """

    documents: int
    resident_mb: Mapping[str, float]
    seconds: float = 0.0
    lag: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class MemoryTrend:
    """One process's memory over a run, in MiB.

    Attributes:
        first: At the first sample.
        warm: After the first sixth of the documents, on the line fitted to all samples from there on.
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
        samples: In order; all of them hold the process, and at least two follow the first sixth of the
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
_PAGE_TIMEOUT = 5.0
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


async def run(file: str | None, *, limit: int, rate: float | None, model: Path | None) -> Soaked:
    """Start the stack, stream documents through it, and sample its memory.

    Args:
        file: Documents, repeated with a new number each time; None takes the samples.
        limit: Documents to stream.
        rate: Documents a second; None sends as many as the worker takes.
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
            watch = _Watch(soaked, supervisor, settings, status.update)
            await while_running(supervisor, _stream(documents, settings, rate, watch))
    return soaked


class _Watch:
    """Counts events, and takes samples of the stack between them."""

    def __init__(self, soaked: Soaked, supervisor: Supervisor, settings: Settings, show: Any) -> None:
        self._soaked = soaked
        self._supervisor = supervisor
        self._metrics = f"http://{settings.health_host}:{settings.health_port}/metrics"
        self._show = show
        self._every = max(1, soaked.documents // _SAMPLES)
        self._done = 0
        self._latencies: list[float] = []
        self._began = time.perf_counter()

    @property
    def left(self) -> int:
        return self._soaked.documents - self._done

    def event(self, latency: float) -> None:
        self._done += 1
        self._latencies.append(latency)
        self._soaked.seconds = time.perf_counter() - self._began
        if self._done % self._every == 0:
            self._sample()

    def _sample(self) -> None:
        taken = usages(self._supervisor)
        held = {name: taken[name].resident_mb for name in PROCESSES if name in taken}
        p50, p99 = np.percentile(self._latencies, (50, 99)) * 1000
        self._latencies.clear()
        lag = sum(samples_of(self._metrics, "padellm_lag"))
        self._soaked.samples.append(
            Sample(self._done, held, self._soaked.seconds, lag, float(p50), float(p99))
        )
        shown = ", ".join(f"{name} {each:.0f}" for name, each in held.items())
        self._show(f"{self._done:,} of {self._soaked.documents:,} documents; MiB: {shown}")


def samples_of(page: str, metric: str) -> list[float]:
    """Values of a metric on a page in Prometheus' text format, whatever their labels.

    Args:
        page: URL.
        metric: Name.

    Raises:
        StackError: The page cannot be read.
    """
    try:
        with urllib.request.urlopen(page, timeout=_PAGE_TIMEOUT) as answer:  # noqa: S310 - http, ours
            families = list(text_string_to_metric_families(answer.read().decode()))
    except OSError as error:
        raise StackError(f"the metrics of the worker at {page} cannot be read: {error}") from error
    return [sample.value for family in families for sample in family.samples if sample.name == metric]


async def _stream(
    documents: Sequence[Document], settings: Settings, rate: float | None, watch: _Watch
) -> None:
    endless = (document for copy in unlike_copies(documents) for document in copy)
    while watch.left:
        together = list(islice(endless, min(_TOGETHER, watch.left)))
        await through_kafka(together, settings, rate=rate, on_event=watch.event)


def summary(soaked: Soaked) -> dict[str, Any]:
    """The figures as JSON."""
    found = {name: memory_trend(soaked.samples, name) for name in _measured(soaked)}
    return {
        "documents": soaked.documents,
        "documents_per_second": round(soaked.documents / soaked.seconds, 2),
        "most_lag": max(sample.lag for sample in soaked.samples),
        "p50_ms": round(float(np.median([sample.p50_ms for sample in soaked.samples])), 1),
        "p99_ms": round(float(np.median([sample.p99_ms for sample in soaked.samples])), 1),
        "processes": {
            name: {
                "first_mib": round(each.first, 1),
                "warm_mib": round(each.warm, 1),
                "last_mib": round(each.last, 1),
                "most_mib": round(each.most, 1),
                "growth": round(each.last / each.warm - 1, 4),
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
    console.print("Resident memory in MiB; growth fitted to what came after the first sixth\n")
    table = terminal_table("Process", "first", "warm", "last", "most", "growth in 10,000 documents")
    for name in _measured(soaked):
        each = memory_trend(soaked.samples, name)
        figures = (each.first, each.warm, each.last, each.most)
        table.add_row(name, *(f"{figure:.1f}" for figure in figures), f"{each.per_10k:+.2f}")
    console.print(table)


def _measured(soaked: Soaked) -> list[str]:
    """Processes that every sample holds; none on a system that does not report them."""
    return [name for name in PROCESSES if all(name in sample.resident_mb for sample in soaked.samples)]
