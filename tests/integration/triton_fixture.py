"""A real Triton over a tiny random model: `triton` for a whole run, `private_triton` for one test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.inference.triton import MODEL_NAME
from stream.local.ports import free_ports
from stream.local.reaper import Reaper
from stream.local.triton import TritonServer, why_unavailable
from tests.integration.running_service import RunningService
from tests.tiny_model import write_tiny_checkpoint

MODELS = Path(__file__).parents[2] / "triton_models" / "cpu"


class RunningTriton(RunningService):
    """A server on free loopback ports, which it keeps over restarts."""

    def __init__(
        self,
        folder: Path,
        checkpoint: Path,
        reaper: Reaper,
        *,
        models: Path = MODELS,
        kind: type[TritonServer] = TritonServer,
    ) -> None:
        http_port, grpc_port, metrics_port = free_ports(3)
        service = kind(
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


def scripted_repository(folder: Path) -> Path:
    """Make a model repository whose model answers as the prompts' texts order."""
    version = folder / MODEL_NAME / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").symlink_to(MODELS / MODEL_NAME / "config.pbtxt")
    (version / "model.py").symlink_to(Path(__file__).with_name("scripted_model") / "model.py")
    return folder


class UnloadableTriton(TritonServer):
    """A server that unloads and loads its model when a client asks."""

    def command(self) -> list[str]:
        """The server's command line."""
        return [*super().command(), "--model-control-mode=explicit", f"--load-model={MODEL_NAME}"]


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


@pytest.fixture
def scripted_triton(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[RunningTriton]:
    """A server of this test alone, whose model answers as texts order and can be unloaded."""
    models = scripted_repository(tmp_path / "models")
    yield from _serve(tmp_path / "triton", tiny_checkpoint, models=models, kind=UnloadableTriton)


def _serve(folder: Path, checkpoint: Path, **options: Any) -> Iterator[RunningTriton]:
    if reason := why_unavailable():
        pytest.skip(reason)
    with Reaper() as reaper:
        server = RunningTriton(folder, checkpoint, reaper, **options)
        try:
            server.start()
            yield server
        finally:
            server.stop()
