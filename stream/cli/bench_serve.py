"""``padellm bench serve``: the same documents through engine, Triton and Kafka, in one run."""

import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stream.errors import ConfigurationError, StackError
from stream.evaluation.memory import peak_memory_mb
from stream.evaluation.serving import Serving, serve_at_rate, serve_saturated, unlike_copies
from stream.inference.in_process import InProcessGenerator
from stream.inference.triton import TritonGenerator
from stream.messages import Document
from stream.ner.bundled import bundled_checkpoint
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.service.topics import ensure_topics
from stream.settings import EventsPer, Inference, Settings
from stream.stack.embedded import running, while_running
from stream.stack.plan import make_plan, one_start_at_a_time
from stream.stack.records import OutgoingRecord, read_records
from stream.stack.round_trip import round_trip
from stream.stack.supervisor import Change, State, Supervisor

WAYS = ("engine", "triton", "kafka")
_WARM_UP = 32


@dataclass(slots=True)
class Served:
    """Figures of all ways.

    Attributes:
        documents: In each run.
        rate: Documents a second, where a fixed rate was asked for.
        saturated: Runs by way.
        at_rate: One run by way, at that rate.
        memory: Peak resident memory in MiB by process; None where the system does not tell.
    """

    documents: int
    rate: float | None
    saturated: dict[str, list[Serving]] = field(default_factory=lambda: {way: [] for way in WAYS})
    at_rate: dict[str, Serving] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)

    def middle(self, way: str) -> Serving:
        """The median of a way's runs."""
        return Serving.median(self.saturated[way])


async def run(file: str | None, *, limit: int, rounds: int, rate: float | None, model: Path | None) -> Served:
    """Start the stack and measure.

    Args:
        file: Documents; None: the samples.
        limit: Documents in a run; fewer there are repeated, each time unlike.
        rounds: Runs through each way.
        rate: Then also at this rate.
        model: Model folder; None: the settings' one.

    Raises:
        ConfigurationError: The file cannot be read or holds no document.
        StackError: A part does not start, or documents do not become events.
        CheckpointError: The folder holds no model that can be served.
    """
    documents = _documents(file, limit)
    served = Served(len(documents), rate)
    console = Console(stderr=True)
    with console.status("starting Kafka, Triton and the worker") as status:
        async with _stack(model) as (settings, supervisor):
            ways = _Ways(settings, documents, status.update)
            await while_running(supervisor, _measure(served, ways, rounds))
            served.memory = _memory(supervisor)
    return served


async def _measure(served: Served, ways: "_Ways", rounds: int) -> None:
    for turn in range(rounds):
        for way in (*WAYS[turn % len(WAYS) :], *WAYS[: turn % len(WAYS)]):
            served.saturated[way].append(await ways.through(way, None))
    if served.rate is not None:
        for way in WAYS:
            served.at_rate[way] = await ways.through(way, served.rate)


class _Ways:
    """Sends documents one way or another; each run with copies unlike those of all others."""

    def __init__(self, settings: Settings, documents: Sequence[Document], tell: Any) -> None:
        self._settings = settings
        self._template = PromptTemplate.load(settings.model or bundled_checkpoint())
        self._copies = unlike_copies(documents)
        self._tell = tell

    async def through(self, way: str, rate: float | None) -> Serving:
        warm_up, documents = next(self._copies)[:_WARM_UP], next(self._copies)
        self._tell(f"{len(documents)} documents through {way}{f', {rate:g} a second' if rate else ''}")
        if way == "kafka":
            await self._through_kafka(warm_up, None)
            return await self._through_kafka(documents, rate)
        generator = self._engine() if way == "engine" else self._triton()
        try:
            extractor = Extractor(generator, self._template)
            await serve_saturated(extractor, warm_up, in_flight=self._settings.window)
            if rate is not None:
                return await serve_at_rate(extractor, documents, rate=rate)
            return await serve_saturated(extractor, documents, in_flight=self._settings.window)
        finally:
            await generator.close()

    def _engine(self) -> InProcessGenerator:
        folder = self._settings.model or bundled_checkpoint()
        return InProcessGenerator.load(
            folder, threads=self._settings.engine_threads, int8=self._settings.int8
        )

    def _triton(self) -> TritonGenerator:
        return TritonGenerator(
            self._settings.triton_url,
            model=self._settings.triton_model,
            in_flight=self._settings.triton_in_flight,
        )

    async def _through_kafka(self, documents: Sequence[Document], rate: float | None) -> Serving:
        # Twice the worker's window is on its way: it is never idle, and no document waits in a long queue.
        unanswered = threading.Semaphore(2 * self._settings.window)
        summary = await round_trip(
            _paced(documents, unanswered if rate is None else None, rate),
            settings=self._settings,
            on_outcome=lambda _record, _outcome: unanswered.release(),
            stall_limit=self._settings.stall_limit,
        )
        if summary.dead_letters:
            raise StackError(f"{summary.dead_letters} of {summary.documents} documents became dead letters")
        return Serving(summary.documents_per_second, summary.p50_ms, summary.p99_ms)


def _paced(
    documents: Sequence[Document], unanswered: threading.Semaphore | None, rate: float | None
) -> Iterator[OutgoingRecord]:
    """Records, each when there is room for it or its time has come; blocks, so a thread must read it."""
    began = time.perf_counter()
    for at, document in enumerate(documents):
        if unanswered is not None:
            unanswered.acquire()
        if rate is not None:
            time.sleep(max(0.0, began + at / rate - time.perf_counter()))
        value = document.model_dump_json(exclude_defaults=True).encode()
        yield OutgoingRecord(document.id.encode() or None, value, document.text)


@asynccontextmanager
async def _stack(model: Path | None) -> AsyncIterator[tuple[Settings, Supervisor]]:
    """Kafka, Triton and the worker, ready, on ports and in a folder of their own."""
    chosen = {
        "inference": Inference.TRITON,
        "events_per": EventsPer.DOCUMENT,
        "model": model or Settings().model,
    }
    # Nothing counts as set: a broker or Triton that the environment names is not for a benchmark to load.
    settings = Settings.model_construct(_fields_set=set(), **(Settings().model_dump() | chosen))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="padellm-bench-")))
        starting = stack.enter_context(ExitStack())
        starting.enter_context(one_start_at_a_time(settings))
        plan = make_plan(settings, data_dir=folder)

        async def make_topics() -> None:
            await ensure_topics(plan.settings)

        async with running(plan, make_topics=make_topics, on_change=_tell_of_death) as supervisor:
            starting.close()
            yield plan.settings, supervisor


def _tell_of_death(change: Change) -> None:
    if change.state is State.DIED:
        message = (
            f"{change.part.name} died and is started again: measure anew, this run's figures are no good"
        )
        Console(stderr=True).print(message, style="red")


def _documents(file: str | None, limit: int) -> list[Document]:
    with as_file(files("stream.stack") / "samples" / "documents.jsonl") as samples:
        records = islice(read_records(file or str(samples)), limit)
        documents = [Document.model_validate_json(record.value) for record in records]
    if not documents:
        raise ConfigurationError(f"{file} holds no document")
    return documents


def _memory(supervisor: Supervisor) -> dict[str, float | None]:
    # This program's descendants are the others.
    parts = {name: peak_memory_mb(pid) for name, pid in supervisor.pids().items()}
    return {"engine and this program": peak_memory_mb(os.getpid(), descendants=False), **parts}


def summary(served: Served) -> dict[str, dict[str, float]]:
    """What ``--json`` prints."""
    return {way: _figures(served.middle(way)) for way in WAYS}


def _figures(serving: Serving) -> dict[str, float]:
    return {
        "documents_per_second": round(serving.documents_per_second, 2),
        "p50_ms": round(serving.p50_ms, 3),
        "p99_ms": round(serving.p99_ms, 3),
    }


def show(served: Served) -> None:
    """Tables for people, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    rounds = len(served.saturated["engine"])
    console.print(f"{served.documents} documents at saturation, median of {rounds} runs through each way\n")
    console.print(_table({way: served.middle(way) for way in WAYS}))
    if served.at_rate:
        console.print(f"\n{served.rate:g} documents a second\n")
        console.print(_table(served.at_rate))
    table = Table("Process", "peak memory, MiB", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, peak in served.memory.items():
        table.add_row(name, "unknown" if peak is None else f"{peak:.0f}")
    console.print()
    console.print(table)


def _table(by_way: dict[str, Serving]) -> Table:
    columns = ("Way", "documents/s", "of the engine's", "p50 ms", "p99 ms")
    table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for way, serving in by_way.items():
        share = serving.documents_per_second / by_way["engine"].documents_per_second
        table.add_row(
            way,
            f"{serving.documents_per_second:.1f}",
            f"{share:.2f}",
            f"{serving.p50_ms:.1f}",
            f"{serving.p99_ms:.1f}",
        )
    return table
