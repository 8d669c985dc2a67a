"""Worker processes and the topics around them, for tests of the worker on a real broker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from stream.kafka.topics import ensure_topics, partitions_of, topic_names
from stream.local.ports import free_ports
from stream.settings import Settings
from stream.settings.variables import environment
from tests.tiny_model import write_tiny_checkpoint

_SCRIPTED = (str(Path(__file__).with_name("scripted_worker.py")),)
REAL = ("-m", "stream.cli", "worker")
_PATIENCE = 60.0
_PROCESS_PATIENCE = 400.0  # for starts and ends on a busy machine


@dataclass
class WorkerProcess:
    """A worker in a process of its own: ``subprocess.Popen``, or what behaves like it."""

    process: Any
    health: str
    log: Path

    async def is_ready(self) -> None:
        """Wait until /readyz answers 200."""
        deadline = time.monotonic() + _PROCESS_PATIENCE
        while (await self.page("/readyz"))[0] != 200:
            assert self.process.poll() is None, f"the worker ended: {self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, (
                f"not ready: {await self.page('/readyz')}, {self.log.read_text()[-3000:]}"
            )
            await asyncio.sleep(0.1)

    async def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page; 0 where there is none."""
        try:
            async with ClientSession() as session, session.get(self.health + path) as answer:
                return answer.status, await answer.text()
        except (ClientError, OSError):
            return 0, ""

    async def says(self, path: str, words: str) -> None:
        """Wait until a page holds these words."""
        deadline = time.monotonic() + _PATIENCE
        while words not in (found := (await self.page(path))[1]):
            assert time.monotonic() < deadline, f"{words!r} is not in {found}"
            await asyncio.sleep(0.1)

    async def metric(self, name: str) -> float:
        """A sample's value, by its full name with labels; 0 where it is not there."""
        _, text = await self.page("/metrics")
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return next((float(value) for sample, _, value in lines if sample == name), 0.0)

    async def until_metric(self, name: str, value: float) -> None:
        """Wait until a sample has a value."""
        deadline = time.monotonic() + _PATIENCE
        while (latest := await self.metric(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {latest}, not {value}"
            await asyncio.sleep(0.1)

    def lines(self) -> list[dict[str, Any]]:
        """Log lines so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def kill(self) -> None:
        """Kill it at once (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=_PROCESS_PATIENCE)


def _popen(program: tuple[str, ...], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as stderr:
        return subprocess.Popen([sys.executable, *program], env={**os.environ, **environment}, stderr=stderr)


@dataclass
class Bench:
    """Topics of their own at a broker, and workers on them.

    ``launch`` starts a Python program with these arguments, variables and file for its standard error.
    """

    settings: Settings
    folder: Path
    workers: list[WorkerProcess]
    launch: Callable[[tuple[str, ...], dict[str, str], Path], Any] = _popen

    def start_worker(self, program: tuple[str, ...] = _SCRIPTED, **overrides: object) -> WorkerProcess:
        """Start a worker, over the scripted model or ``REAL``; overrides are settings."""
        (port,) = free_ports(1)
        settings = self.settings.model_copy(update={"health_port": port, **overrides})
        log = self.folder / f"worker-{len(self.workers)}.log"
        log.touch()
        worker = WorkerProcess(
            self.launch(program, environment(settings), log), f"http://127.0.0.1:{port}", log
        )
        self.workers.append(worker)
        return worker

    async def produce(
        self, *texts: str, partition: int | None = None, metadata: dict[str, str] | None = None
    ) -> None:
        """Send documents with these texts, each with its number as id."""
        async with self.producer() as producer:
            sent = [
                await producer.send(
                    self.settings.documents_topic,
                    json.dumps({"id": f"doc-{number}", "text": text, "metadata": metadata or {}}).encode(),
                    key=f"doc-{number}".encode(),
                    partition=partition,
                )
                for number, text in enumerate(texts)
            ]
            await asyncio.gather(*sent)

    def producer(self, **options: Any) -> AIOKafkaProducer:
        """A producer for this broker, to be entered."""
        return AIOKafkaProducer(
            bootstrap_servers=self.settings.broker,
            max_request_size=self.settings.max_message_bytes,
            **options,
        )

    async def outcomes(
        self,
        until: Callable[[list[Any]], bool],
        *,
        topics: tuple[str, ...] | None = None,
        isolation_level: str = "read_uncommitted",
        patience: float = _PATIENCE,
    ) -> list[Any]:
        """Records of events and dead letters from the start, read until the condition holds."""
        names = topics or (self.settings.entities_topic, self.settings.dead_letters_topic)
        records: list[Any] = []
        async with AIOKafkaConsumer(
            *names,
            bootstrap_servers=self.settings.broker,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            isolation_level=isolation_level,
        ) as consumer:
            deadline = time.monotonic() + patience
            while not until(records):
                assert time.monotonic() < deadline, f"{len(records)} outcomes; logs: {self._logs()}"
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records.extend(batch)
        return records

    async def committed(self) -> dict[int, int]:
        """Committed offset by partition of the documents topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.broker)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(self.settings.group)
        finally:
            await admin.close()
        return {
            tp.partition: at.offset for tp, at in offsets.items() if tp.topic == self.settings.documents_topic
        }

    async def until_committed(self, expected: dict[int, int]) -> None:
        """Wait until exactly these offsets are committed."""
        deadline = time.monotonic() + _PATIENCE
        while (committed := await self.committed()) != expected:
            assert time.monotonic() < deadline, f"committed {committed}, expected {expected}; {self._logs()}"
            await asyncio.sleep(0.2)

    async def ends(self) -> dict[int, int]:
        """End offset by partition of the documents topic."""
        partitions = await partitions_of(self.settings, self.settings.documents_topic)
        async with AIOKafkaConsumer(bootstrap_servers=self.settings.broker) as consumer:
            return {tp.partition: end for tp, end in (await consumer.end_offsets(partitions)).items()}

    def _logs(self) -> str:
        return "\n".join(worker.log.read_text()[-3000:] for worker in self.workers)

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()


def event_ids(records: list[Any], topic: str) -> dict[str, set[str]]:
    """Event ids by document id, of the records of a topic."""
    ids: dict[str, set[str]] = {}
    for record in records:
        if record.topic == topic:
            event = json.loads(record.value)
            ids.setdefault(event["document_id"], set()).add(event["event_id"])
    return ids


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint for the scripted worker: its tokenizer and configuration are real."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


async def _until_led(settings: Settings) -> None:
    """Wait until every partition answers: a topic made just now has no leader for a moment."""
    partitions = await partitions_of(settings, *topic_names(settings))
    async with AIOKafkaConsumer(bootstrap_servers=settings.broker) as consumer:
        await consumer.end_offsets(partitions)


async def bench_at(bootstrap: str, model: Path, folder: Path) -> AsyncIterator[Bench]:
    """Topics and workers at a broker, until the next step."""
    name = f"worker-{uuid.uuid4().hex[:8]}"
    settings = Settings(
        broker=bootstrap,
        group=name,
        documents_topic=name,
        entities_topic=f"{name}-entities",
        dead_letters_topic=f"{name}-dead",
        model=model,
        drain_limit=5.0,
        log_level="info",
    )
    await ensure_topics(settings)
    await _until_led(settings)
    bench = Bench(settings, folder, [])
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture
async def bench(kafka: Any, tiny_model: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    """Topics and workers at the broker of the run."""
    async for one in bench_at(kafka.bootstrap, tiny_model, tmp_path):
        yield one


@pytest.fixture
async def private_bench(private_kafka: Any, tiny_model: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    """Topics and workers at a broker that the test may stop."""
    async for one in bench_at(private_kafka.bootstrap, tiny_model, tmp_path):
        yield one
