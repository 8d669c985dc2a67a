"""``padellm bench capacity``: what `padellm plan` sizes with, and how well its model fits."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from stream.bench.load import bench_documents, serve_saturated, serve_unevenly, unlike_copies
from stream.bench.queueing import Station
from stream.bench.stack import bench_stack, through_kafka, usages
from stream.bundled import model_folder
from stream.contract.messages import Document
from stream.evaluation.tables import terminal_table
from stream.inference.grpc_generator import tls_of_servers
from stream.inference.triton import TritonGenerator
from stream.local.plan import while_running
from stream.local.supervisor import Supervisor
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings

LEVELS = (1, 2, 4, 8, 16, 32, 64)
SHARES = (0.3, 0.6, 0.8)
_WARM_UP = 32


@dataclass(frozen=True, slots=True)
class Checked:
    """A run with arrivals at random times, and what the model says of it.

    Attributes:
        rate: Arrivals a second.
        measured_ms: Mean time of a document.
        modelled_ms: The same by the model, from the rates of the same round.
    """

    rate: float
    measured_ms: float
    modelled_ms: float

    @property
    def ratio(self) -> float:
        """Modelled by measured."""
        return self.modelled_ms / self.measured_ms


@dataclass(frozen=True, slots=True)
class Capacity:
    """Figures of one server and one worker.

    Attributes:
        rates: Documents a second by documents in flight, medians of the rounds.
        worker_ms: Milliseconds of a core that the worker spends on a document.
        checked: By share of the highest rate, one of each round.
    """

    rates: dict[int, float]
    worker_ms: float
    checked: dict[float, list[Checked]]


async def run(file: str | None, *, limit: int, rounds: int, model: Path | None) -> Capacity:
    """Start the stack and measure.

    Args:
        file: Documents; None takes the samples.
        limit: Documents in a run, at most.
        rounds: Each has a run at every level, then one at every share.
        model: Model folder; None takes the settings' one.

    Raises:
        ConfigurationError: The file cannot be read or holds no document.
        StackError: A part does not start, or documents do not become events.
    """
    documents = bench_documents(file, limit)
    with Console(stderr=True).status("measuring one server, then one worker"):
        async with bench_stack(model) as (settings, supervisor):
            return await while_running(supervisor, _measure(documents, settings, supervisor, rounds))


async def _measure(
    documents: Sequence[Document], settings: Settings, supervisor: Supervisor, rounds: int
) -> Capacity:
    copies = unlike_copies(documents)
    generator = TritonGenerator(
        settings.triton_url, tls=tls_of_servers(settings), in_flight=settings.triton_in_flight
    )
    extractor = Extractor(generator, PromptTemplate.load(model_folder(settings.model)))
    try:
        await serve_saturated(extractor, next(copies)[:_WARM_UP], in_flight=_WARM_UP)
        found = [await _round(extractor, copies, seed) for seed in range(rounds)]
    finally:
        await generator.close()
    await through_kafka(next(copies)[:_WARM_UP], settings)
    before = usages(supervisor)["worker"].processor_seconds
    await through_kafka(next(copies), settings)
    spent = usages(supervisor)["worker"].processor_seconds - before
    return Capacity(
        {level: float(np.median([rates[level] for rates, _ in found])) for level in LEVELS},
        1000 * spent / len(documents),
        {share: [checked[at] for _, checked in found] for at, share in enumerate(SHARES)},
    )


async def _round(
    extractor: Extractor, copies: Iterator[list[Document]], seed: int
) -> tuple[dict[int, float], list[Checked]]:
    """Rates by level, then one run at each share of the highest, with arrivals at random times."""
    # All documents at every level, for the first of a file are not like the rest.
    closed = {level: await serve_saturated(extractor, next(copies), in_flight=level) for level in LEVELS}
    rates = {level: serving.documents_per_second for level, serving in closed.items()}
    station = Station(rates)
    checked = []
    for share in SHARES:
        rate = share * station.highest_rate
        if (load := station.at(rate)) is None:
            raise AssertionError
        times = await serve_unevenly(extractor, next(copies), rate=rate, seed=seed)
        checked.append(Checked(rate, 1000 * float(np.mean(times)), load.mean_ms))
    return rates, checked


def show(capacity: Capacity) -> None:
    """Print tables on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = terminal_table("In flight at one server", "documents/s")
    for level, rate in capacity.rates.items():
        table.add_row(f"{level}", f"{rate:.1f}")
    console.print(table)
    console.print(f"\nA worker spends {capacity.worker_ms:.2f} ms of a core on a document\n")
    table = terminal_table("Share of the highest rate", "arrivals/s", "measured ms", "modelled ms", "ratio")
    for share, runs in capacity.checked.items():
        for each in runs:
            means = (f"{each.measured_ms:.1f}", f"{each.modelled_ms:.1f}", f"{each.ratio:.2f}")
            table.add_row(f"{share:.0%}", f"{each.rate:.1f}", *means)
    console.print(table)


def summary(capacity: Capacity) -> dict[str, Any]:
    """The figures as JSON, with the median ratio of model to measurement at each share."""
    return {
        "documents_per_second": {str(level): round(rate, 2) for level, rate in capacity.rates.items()},
        "worker_ms": round(capacity.worker_ms, 3),
        "model_by_measured": {
            f"{share:g}": round(float(np.median([each.ratio for each in runs])), 3)
            for share, runs in capacity.checked.items()
        },
    }
