"""A real Apache Kafka for tests: `kafka` for a whole run, `private_kafka` for a test that stops or kills it.

Its methods block until the broker is as they say; from an async test call them with ``asyncio.to_thread``.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream.settings import Settings
from stream.stack.guard import Guard
from stream.stack.kafka import Kafka
from stream.stack.ports import free_ports
from stream.stack.process import PartProcess

_PATIENCE = 90.0


class RunningKafka:
    """A broker on free loopback ports, which it keeps over restarts; its data is kept too."""

    def __init__(self, folder: Path, guard: Guard) -> None:
        port, controller_port = free_ports(2)
        self.part = Kafka(
            folder=folder,
            cache=Settings().cache_dir,
            port=port,
            controller_port=controller_port,
            log_file=folder / "kafka.log",
        )
        self._guard = guard
        self._process: PartProcess | None = None

    @property
    def bootstrap(self) -> str:
        """127.0.0.1:port."""
        return self.part.bootstrap

    def start(self) -> None:
        """Start the broker and wait until it serves."""
        self.part.prepare()
        self._process = process = PartProcess(self.part, self._guard)
        deadline = time.monotonic() + _PATIENCE
        while not _run(self.part.is_ready()):
            assert process.exit_status() is None, f"Kafka ended: {process.log_tail()}"
            assert time.monotonic() < deadline, f"Kafka is not ready: {process.log_tail()}"
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it in an orderly way."""
        if self._process is not None:
            self._process.stop(patience=20)
            self._process = None

    def kill(self) -> None:
        """Kill it at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        assert self._process is not None
        return self._process.pid


def _run(awaitable) -> bool:
    """The awaitable's result, also where an event loop is running already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, awaitable).result()


def _serve(folder: Path) -> Iterator[RunningKafka]:
    with Guard() as guard:
        broker = RunningKafka(folder, guard)
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    """One broker for the whole run; use topics and groups of your own names."""
    yield from _serve(tmp_path_factory.mktemp("kafka"))


@pytest.fixture
def private_kafka(tmp_path: Path) -> Iterator[RunningKafka]:
    """A broker for one test, which may stop, kill and start it."""
    yield from _serve(tmp_path / "kafka")
