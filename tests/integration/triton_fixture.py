"""A real Triton over a tiny random model, for tests: `triton` for a whole run, `private_triton` for one test.

Its methods block until the server is as they say; from an async test call them with ``asyncio.to_thread``.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream.stack.guard import Guard
from stream.stack.ports import free_ports
from stream.stack.process import PartProcess
from stream.stack.triton_server import TritonServer, why_unavailable
from tests.tiny_model import write_tiny_checkpoint

MODELS = Path(__file__).parents[2] / "triton_models" / "cpu"
_PATIENCE = 90.0


class RunningTriton:
    """A server on free loopback ports, which it keeps over restarts."""

    def __init__(self, folder: Path, checkpoint: Path, guard: Guard, *, models: Path = MODELS) -> None:
        http_port, grpc_port, metrics_port = free_ports(3)
        self.part = TritonServer(
            folder=folder,
            models=models,
            checkpoint=checkpoint,
            threads=2,
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            log_file=folder / "triton.log",
        )
        self._guard = guard
        self._process: PartProcess | None = None

    @property
    def url(self) -> str:
        """127.0.0.1:port, for gRPC."""
        return self.part.url

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it serves."""
        self.part.prepare()
        self._process = process = PartProcess(self.part, self._guard)
        deadline = time.monotonic() + _PATIENCE
        while not _run(self.part.is_ready()):
            assert process.exit_status() is None, f"Triton ended: {process.log_tail()}"
            assert time.monotonic() < deadline, f"Triton is not ready: {process.log_tail()}"
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it in an orderly way."""
        if self._process is not None:
            self._process.stop(patience=20)
            self._process = None

    def kill(self) -> None:
        """Kill it at once (SIGKILL), its stub process with it."""
        if self._process is not None:
            self._process.kill()
            self._process = None


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model, with room for answers that take seconds."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny-model"), max_positions=65_536)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[RunningTriton]:
    """The server most tests share."""
    yield from _serve(tmp_path_factory.mktemp("triton"), tiny_checkpoint)


@pytest.fixture
def private_triton(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[RunningTriton]:
    """A server of this test alone."""
    yield from _serve(tmp_path / "triton", tiny_checkpoint)


def _serve(folder: Path, checkpoint: Path) -> Iterator[RunningTriton]:
    if reason := why_unavailable():
        pytest.skip(reason)
    with Guard() as guard:
        server = RunningTriton(folder, checkpoint, guard)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _run(ready: "asyncio.coroutines.Coroutine[None, None, bool]") -> bool:
    """Also from a thread that runs an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, ready).result()
