"""``padellm bench plumbing``: the worker on a real Kafka, over a model that answers at once."""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from stream.bench.load import Serving, bench_documents, unlike_copies
from stream.bench.stack import Usage, report_death, usage
from stream.bundled import model_folder
from stream.contract.messages import Document
from stream.errors import StackError
from stream.evaluation.tables import terminal_table
from stream.kafka.topics import ensure_topics
from stream.local.kafka import Kafka
from stream.local.plan import WorkerProcess, while_running
from stream.local.ports import free_ports
from stream.local.supervisor import Supervisor
from stream.settings import Delivery, Settings

THIS = "this program"
_WARM_UP = 3000
_SILENCE = 60.0
_POLL_MS = 100
_EASY = 0.5  # of the rate at saturation: where latencies are measured if no rate is named
_YARD = 20_000
_YARD_PAUSE = 0.5


@dataclass(frozen=True)
class InstantWorker(WorkerProcess):
    """The worker over a model that answers at once; several run beside each other."""

    name: str = "worker"

    def command(self) -> list[str]:
        """This Python, running ``stream.bench.instant_worker``."""
        return [sys.executable, "-m", "stream.bench.instant_worker"]


@dataclass(frozen=True, slots=True)
class PlumbingPlan:
    """Shape of a run.

    Attributes:
        documents: In each of its two parts.
        workers: Number of workers.
        partitions: Of each topic.
        delivery: Of the workers.
        rate: Documents a second in the second part; None is half of what the first part reached.
    """

    documents: int
    workers: int
    partitions: int
    delivery: Delivery
    rate: float | None = None


@dataclass(slots=True)
class Plumbing:
    """Figures of a run.

    Attributes:
        plan: Its shape.
        documents_per_second: At saturation: most documents are in their topic before they are read.
        processor_seconds: At saturation, by process.
        yardstick_ns: Median time on a core of a step of an empty Python loop, meanwhile: a core that is
            shared makes everything dearer.
        easy: At ``rate``.
        rate: Documents a second of ``easy``.
        peak_mb: Peak resident memory in MiB, by process.
    """

    plan: PlumbingPlan
    documents_per_second: float = 0.0
    processor_seconds: dict[str, float] = field(default_factory=dict)
    yardstick_ns: float = 0.0
    easy: Serving | None = None
    rate: float = 0.0
    peak_mb: dict[str, float] = field(default_factory=dict)

    @property
    def worker_ms(self) -> float:
        """Milliseconds that the workers spent on a core for a document at saturation."""
        return sum(self.processor_ms(name) for name in self.processor_seconds if name.startswith("worker"))

    def processor_ms(self, name: str) -> float:
        """The same for a process."""
        return self.processor_seconds[name] / self.plan.documents * 1000


async def run(file: str | None, plan: PlumbingPlan) -> Plumbing:
    """Start Kafka and the workers, and measure.

    Args:
        file: Documents; None takes the samples.
        plan: Shape of the run.

    Raises:
        ConfigurationError: The file cannot be read or holds no document.
        StackError: A part does not start, or documents do not become events.
    """
    measured = Plumbing(plan)
    copies = chain.from_iterable(unlike_copies(bench_documents(file, plan.documents)))
    console = Console(stderr=True)
    with console.status("starting Kafka and the workers") as status:
        async with _stack(plan) as (settings, supervisor):
            driver = _Driver(settings, plan.partitions, _values(copies))
            work = _measure(measured, driver, supervisor, status.update)
            await while_running(supervisor, work)
            measured.peak_mb = {name: each.peak_mb for name, each in _usages(supervisor).items()}
    return measured


async def _measure(measured: Plumbing, driver: "_Driver", supervisor: Supervisor, show: Any) -> None:
    plan = measured.plan
    async with driver:
        show(f"{_WARM_UP} documents to warm up")
        await driver.send(_WARM_UP)
        show(f"{plan.documents} documents at saturation")
        before = _usages(supervisor)
        driver.yardsticks.clear()
        latencies, seconds = await driver.send(plan.documents)
        after = _usages(supervisor)
        measured.yardstick_ns = statistics.median(driver.yardsticks)
        measured.documents_per_second = len(latencies) / seconds
        measured.processor_seconds = {
            name: after[name].processor_seconds - each.processor_seconds for name, each in before.items()
        }
        measured.rate = plan.rate or _EASY * measured.documents_per_second
        show(f"{plan.documents} documents, {measured.rate:.0f} a second")
        measured.easy = Serving.of(*await driver.send(plan.documents, measured.rate))


@asynccontextmanager
async def _stack(plan: PlumbingPlan) -> AsyncIterator[tuple[Settings, Supervisor]]:
    """Kafka and the workers, ready."""
    with tempfile.TemporaryDirectory(prefix="padellm-bench-") as name:
        folder = Path(name)
        port, controller_port, *health_ports = free_ports(2 + plan.workers)
        kafka = Kafka(
            folder=folder / "kafka",
            cache=Settings().cache_dir,
            port=port,
            controller_port=controller_port,
            log_file=folder / "kafka.log",
        )
        chosen = {
            "broker": kafka.bootstrap,
            "delivery": plan.delivery,
            "model": model_folder(Settings().model).resolve(),
        }
        settings = Settings().model_copy(update=chosen)
        async with Supervisor(on_change=report_death) as supervisor:
            await supervisor.start(kafka)
            await ensure_topics(settings, partitions=plan.partitions)
            for number, health_port in enumerate(health_ports, start=1):
                log_file = folder / f"worker-{number}.log"
                own = settings.model_copy(update={"health_port": health_port})
                await supervisor.start(InstantWorker(own, log_file, f"worker {number}"))
            yield settings, supervisor


def _usages(supervisor: Supervisor) -> dict[str, Usage]:
    pids = {THIS: os.getpid(), **supervisor.pids()}
    return {name: each for name, pid in pids.items() if (each := usage(pid)) is not None}


def _values(documents: Iterator[Document]) -> Iterator[tuple[bytes, bytes]]:
    """Keys, which are numbers, and values of documents."""
    for number, document in enumerate(documents):
        named = document.model_copy(update={"id": str(number)})
        yield named.id.encode(), named.model_dump_json(exclude_defaults=True).encode()


class _Driver:
    """Sends documents and reads their events, with as little work for each as may be.

    Events have the keys of their documents.

    Attributes:
        yardsticks: Nanoseconds on a core of a step of an empty loop, twice a second.
    """

    def __init__(self, settings: Settings, partitions: int, records: Iterator[tuple[bytes, bytes]]) -> None:
        self._settings = settings
        self._partitions = partitions
        self._records = records
        self.yardsticks: list[float] = []
        self._producer = AIOKafkaProducer(bootstrap_servers=settings.broker)
        self._consumer = AIOKafkaConsumer(
            settings.entities_topic,
            settings.dead_letters_topic,
            bootstrap_servers=settings.broker,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )

    async def __aenter__(self) -> None:
        await self._producer.start()
        await self._consumer.start()

    async def __aexit__(self, *error: object) -> None:
        await self._producer.stop()
        await self._consumer.stop()

    async def send(self, count: int, rate: float | None = None) -> tuple[list[float], float]:
        """Send documents and wait for the event of each.

        Args:
            count: Number of documents.
            rate: Documents a second; None sends them at once.

        Returns:
            Seconds from the time each was due to its event, and seconds from the first to the last event.

        Raises:
            StackError: A document became a dead letter, or has no event.
        """
        records = list(islice(self._records, count))
        began = time.perf_counter()
        due = {key: began + (at / rate if rate else 0.0) for at, (key, _) in enumerate(records)}
        sending = asyncio.create_task(self._produce(records, due))
        try:
            latencies = await self._events(due)
        finally:
            sending.cancel()
        return latencies, time.perf_counter() - began

    async def _produce(self, records: Sequence[tuple[bytes, bytes]], due: dict[bytes, float]) -> None:
        for at, (key, value) in enumerate(records):
            if (early := due[key] - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            topic, partition = self._settings.documents_topic, at % self._partitions
            await self._producer.send(topic, value, key=key, partition=partition)

    async def _events(self, due: dict[bytes, float]) -> list[float]:
        missing = due.copy()
        latencies: list[float] = []
        latest = time.perf_counter()
        measured_at = 0.0
        while missing:
            if time.perf_counter() - measured_at > _YARD_PAUSE:
                self.yardsticks.append(_step_ns())
                measured_at = time.perf_counter()
            for partition, batch in (await self._consumer.getmany(timeout_ms=_POLL_MS)).items():
                if partition.topic == self._settings.dead_letters_topic:
                    raise StackError(f"{len(batch)} documents became dead letters")
                latest = time.perf_counter()
                first = [at for each in batch if (at := missing.pop(each.key, None)) is not None]
                latencies += [latest - at for at in first]
            if time.perf_counter() - latest > _SILENCE:
                raise StackError(f"{len(missing)} of {len(due)} documents have no event")
        return latencies


def _step_ns() -> float:
    began = time.thread_time_ns()
    for _ in range(_YARD):
        pass
    return (time.thread_time_ns() - began) / _YARD


def summary(measured: Plumbing) -> dict[str, Any]:
    """The figures as JSON."""
    easy = measured.easy or Serving(0.0, 0.0, 0.0, 0.0)
    return {
        "workers": measured.plan.workers,
        "partitions": measured.plan.partitions,
        "delivery": measured.plan.delivery.value,
        "documents": measured.plan.documents,
        "documents_per_second": round(measured.documents_per_second, 1),
        "worker_ms": round(measured.worker_ms, 4),
        "processor_ms": {name: round(measured.processor_ms(name), 4) for name in measured.processor_seconds},
        "yardstick_ns": round(measured.yardstick_ns, 2),
        "rate": round(measured.rate, 1),
        "p50_ms": round(easy.p50_ms, 3),
        "p99_ms": round(easy.p99_ms, 3),
        "peak_mib": {name: round(peak, 1) for name, peak in measured.peak_mb.items()},
    }


def show(measured: Plumbing) -> None:
    """Print tables on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    plan = measured.plan
    console.print(
        f"{plan.documents:,} documents, {plan.delivery.value}, workers: {plan.workers}, "
        f"partitions: {plan.partitions}\n"
    )
    console.print(f"At saturation {measured.documents_per_second:.0f} documents/s")
    if measured.easy is not None:
        console.print(
            f"At {measured.rate:.0f} documents/s p50 {measured.easy.p50_ms:.1f} ms, "
            f"p99 {measured.easy.p99_ms:.1f} ms"
        )
    console.print(
        f"A document takes the workers {measured.worker_ms:.3f} ms of a core, "
        f"while a step of an empty Python loop takes {measured.yardstick_ns:.1f} ns of one\n"
    )
    console.print(_table(measured))


def _table(measured: Plumbing) -> Table:
    table = terminal_table("Process", "ms of a core for a document", "peak memory, MiB")
    for name in measured.processor_seconds:
        table.add_row(name, f"{measured.processor_ms(name):.3f}", f"{measured.peak_mb.get(name, 0.0):.0f}")
    return table
