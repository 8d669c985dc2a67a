"""A real Triton over a tiny random model: `triton` for a whole run, `private_triton` for one test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.local.ports import free_ports
from stream.local.reaper import Reaper
from stream.local.triton import TritonServer, why_unavailable
from tests.integration.running_service import RunningService
from tests.tiny_model import write_tiny_checkpoint

MODELS = Path(__file__).parents[2] / "triton_models" / "cpu"


class RunningTriton(RunningService):
    """A server on free loopback ports, which it keeps over restarts."""

    def __init__(self, folder: Path, checkpoint: Path, reaper: Reaper, *, models: Path = MODELS) -> None:
        http_port, grpc_port, metrics_port = free_ports(3)
        service = TritonServer(
            folder=folder,
            models=models,
            checkpoint=checkpoint,
            threads=2,
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            log_file=folder / "triton.log",
        )
        super().__init__(service, reaper)

    @property
    def url(self) -> str:
        """127.0.0.1:port, for gRPC."""
        return self.service.url


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
    with Reaper() as reaper:
        server = RunningTriton(folder, checkpoint, reaper)
        try:
            server.start()
            yield server
        finally:
            server.stop()
