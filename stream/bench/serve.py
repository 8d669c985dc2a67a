"""``padellm bench serve``: the same documents through engine, Triton and Kafka, in one run."""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stream.bench.load import Serving, bench_documents, serve_at_rate, serve_saturated, unlike_copies
from stream.bench.stack import Usage, bench_stack, through_kafka, usages
from stream.bundled import model_folder
from stream.contract.messages import Document
from stream.engine.decoder import EngineOptions
from stream.evaluation.tables import terminal_table
from stream.generation import Generator
from stream.inference.in_process import InProcessGenerator
from stream.inference.servers import server_generator
from stream.local.plan import while_running
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings

WAYS = ("engine", "triton", "kafka")
_WARM_UP = 32


@dataclass(slots=True)
class ServeResults:
    """Figures of all ways.

    Attributes:
        documents: In each run.
        saturated: Runs by way.
        at_rates: One run by way, for each fixed rate in documents a second.
        processor_seconds: Of all runs at saturation together, by way and process; a process that cannot be
            read is absent.
        peak_mb: Peak resident memory in MiB by process, likewise.
    """

    documents: int
    saturated: dict[str, list[Serving]] = field(default_factory=lambda: {way: [] for way in WAYS})
    at_rates: dict[float, dict[str, Serving]] = field(default_factory=dict)
    processor_seconds: dict[str, dict[str, float]] = field(default_factory=lambda: {way: {} for way in WAYS})
    peak_mb: dict[str, float] = field(default_factory=dict)

    def middle(self, way: str) -> Serving:
        """The median of a way's runs."""
        return Serving.median(self.saturated[way])

    def processor_ms(self, way: str) -> dict[str, float]:
        """Milliseconds that each process spent on a core for a document."""
        documents = self.documents * len(self.saturated[way])
        return {name: spent / documents * 1000 for name, spent in self.processor_seconds[way].items()}


async def run(
    file: str | None, *, limit: int, rounds: int, rates: Sequence[float], model: Path | None
) -> ServeResults:
    """Start the stack and measure.

    Args:
        file: Documents; None takes the samples.
        limit: Documents in a run, at most.
        rounds: Runs through each way.
        rates: Documents a second; each is the rate of one more run through each way.
        model: Model folder; None takes the settings' one.

    Raises:
        ConfigurationError: The file cannot be read or holds no document.
        StackError: A part does not start, or documents do not become events.
        CheckpointError: The folder holds no model that can be served.
    """
    documents = bench_documents(file, limit)
    served = ServeResults(len(documents))
    console = Console(stderr=True)
    with console.status("starting Kafka, Triton and the worker") as status:
        async with bench_stack(model) as (settings, supervisor):
            ways = _Ways(settings, documents, lambda: usages(supervisor), status.update)
            await while_running(supervisor, _measure(served, ways, rounds, rates))
            served.peak_mb = {name: each.peak_mb for name, each in usages(supervisor).items()}
    return served


async def _measure(served: ServeResults, ways: "_Ways", rounds: int, rates: Sequence[float]) -> None:
    for turn in range(rounds):
        for way in (*WAYS[turn % len(WAYS) :], *WAYS[: turn % len(WAYS)]):
            serving, spent = await ways.through(way, None)
            served.saturated[way].append(serving)
            together = served.processor_seconds[way]
            together |= {name: together.get(name, 0.0) + seconds for name, seconds in spent.items()}
    for rate in rates:
        served.at_rates[rate] = {way: (await ways.through(way, rate))[0] for way in WAYS}


class _Ways:
    """Sends documents one way or another; every run has copies of its own."""

    def __init__(
        self,
        settings: Settings,
        documents: Sequence[Document],
        taken: Callable[[], dict[str, Usage]],
        show: Callable[[str], Any],
    ) -> None:
        self._settings = settings
        self._template = PromptTemplate.load(model_folder(settings.model))
        self._copies = unlike_copies(documents)
        self._taken = taken
        self._show = show

    async def through(self, way: str, rate: float | None) -> tuple[Serving, dict[str, float]]:
        """Figures of a run, and the processor seconds of each process during it."""
        warm_up, documents = next(self._copies)[:_WARM_UP], next(self._copies)
        self._show(f"{len(documents)} documents through {way}{f', {rate:g} a second' if rate else ''}")
        async with self._server(way) as serve:
            await serve(warm_up, None)
            before = self._taken()
            serving = await serve(documents, rate)
            after = self._taken()
        return serving, {
            name: each.processor_seconds - before[name].processor_seconds
            for name, each in after.items()
            if name in before
        }

    @asynccontextmanager
    async def _server(self, way: str) -> AsyncIterator[Any]:
        if way == "kafka":
            yield self._through_kafka
            return
        generator = self._engine() if way == "engine" else self._triton()
        extractor = Extractor(generator, self._template)

        async def serve(documents: Sequence[Document], rate: float | None) -> Serving:
            if rate is not None:
                return await serve_at_rate(extractor, documents, rate=rate)
            return await serve_saturated(extractor, documents, in_flight=self._settings.max_in_flight)

        try:
            yield serve
        finally:
            await generator.close()

    def _engine(self) -> Generator:
        return InProcessGenerator.load(
            model_folder(self._settings.model), EngineOptions.from_settings(self._settings)
        )

    def _triton(self) -> Generator:
        return server_generator(self._settings)

    async def _through_kafka(self, documents: Sequence[Document], rate: float | None) -> Serving:
        return await through_kafka(documents, self._settings, rate=rate)


def summary(served: ServeResults) -> dict[str, dict[str, Any]]:
    """The figures as JSON."""
    return {
        way: {
            **_figures(served.middle(way)),
            "at_rates": [{"rate": rate, **_figures(by_way[way])} for rate, by_way in served.at_rates.items()],
        }
        for way in WAYS
    }


def _figures(serving: Serving) -> dict[str, float]:
    return {
        "documents_per_second": round(serving.documents_per_second, 2),
        "p50_ms": round(serving.p50_ms, 3),
        "p99_ms": round(serving.p99_ms, 3),
        "p999_ms": round(serving.p999_ms, 3),
    }


def show(served: ServeResults) -> None:
    """Print tables on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    rounds = len(served.saturated["engine"])
    console.print(f"{served.documents} documents at saturation, median of {rounds} runs through each way\n")
    console.print(_table(served))
    if served.at_rates:
        console.print("\nDocuments that arrive at a fixed rate, whether or not earlier ones are done\n")
        console.print(_rates(served))
    console.print("\nWhere the time goes: milliseconds on a core for a document, at saturation\n")
    console.print(_profile(served))


def _table(served: ServeResults) -> Table:
    table = terminal_table("Way", "documents/s", "of the engine's", "p50 ms", "p99 ms", "p99.9 ms")
    engine = served.middle("engine").documents_per_second
    for way in WAYS:
        serving = served.middle(way)
        share = f"{serving.documents_per_second / engine:.2f}"
        table.add_row(way, f"{serving.documents_per_second:.1f}", share, *_latencies(serving))
    return table


def _rates(served: ServeResults) -> Table:
    table = terminal_table("Way", "arrive/s", "of saturation", "documents/s", "p50 ms", "p99 ms", "p99.9 ms")
    for way in WAYS:
        most = served.middle(way).documents_per_second
        for rate, by_way in served.at_rates.items():
            serving = by_way[way]
            reached = f"{serving.documents_per_second:.1f}"
            table.add_row(way, f"{rate:g}", f"{rate / most:.2f}", reached, *_latencies(serving))
    return table


def _latencies(serving: Serving) -> tuple[str, str, str]:
    return f"{serving.p50_ms:.1f}", f"{serving.p99_ms:.1f}", f"{serving.p999_ms:.1f}"


def _profile(served: ServeResults) -> Table:
    table = terminal_table("Process", *WAYS, "peak memory, MiB")
    spent = {way: served.processor_ms(way) for way in WAYS}
    for name, peak in served.peak_mb.items():
        table.add_row(name, *(_ms(spent[way].get(name, 0.0)) for way in WAYS), f"{peak:.0f}")
    table.add_row("together", *(_ms(sum(spent[way].values())) for way in WAYS), "")
    return table


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds else ""
