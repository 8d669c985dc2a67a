"""vLLM's own gRPC server on the CPU, in the environment that `make test-vllm` sets up."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream.bundled import model_folder
from stream.inference.vllm import VllmGenerator
from stream.local.ports import free_ports, is_listening
from stream.local.reaper import Reaper
from tests.integration.running_service import RunningService
from tests.vllm.served_vllm import CPU_OPTIONS, ENVIRONMENT


@dataclass(frozen=True)
class VllmGrpc:
    """The server, with options as docs/serving.md has them, but for those of a CPU.

    Attributes:
        name: One lower-case word.
        model: Model folder.
        port: Of gRPC.
        log_file: For its output.
    """

    model: Path
    port: int
    log_file: Path
    name: str = "vllm"

    @property
    def url(self) -> str:
        """127.0.0.1:port."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Nothing: the environment is there."""

    def command(self) -> list[str]:
        """The server's command line."""
        options = {
            "model": self.model,
            "host": "127.0.0.1",
            "port": self.port,
            "dtype": "float32",
            "block-size": 32,
            "max-num-seqs": 64,
        }
        return [
            str(ENVIRONMENT / "bin" / "python"),
            "-m",
            "vllm.entrypoints.grpc_server",
            *(f"--{name}={value}" for name, value in options.items()),
            "--enable-prefix-caching",
            "--skip-tokenizer-init",
            "--enforce-eager",
        ]

    def environment(self) -> dict[str, str]:
        """Small enough for a machine that does other work."""
        return CPU_OPTIONS | {"OMP_NUM_THREADS": "1"}

    async def is_ready(self) -> bool:
        """True if it would serve a request now."""
        if not is_listening(self.port):
            return False
        client = VllmGenerator(self.url)
        try:
            return await client.ready()
        finally:
            await client.close()


class RunningVllmGrpc(RunningService):
    """A server on a free loopback port."""

    patience = 600.0

    @property
    def url(self) -> str:
        """127.0.0.1:port, for gRPC."""
        return self.service.url


@contextmanager
def serving_grpc(folder: Path) -> Iterator[RunningVllmGrpc]:
    """Serve padellm-small-en."""
    if not (ENVIRONMENT / "bin" / "python3").exists():
        pytest.skip(f"{ENVIRONMENT} is not there: make test-vllm sets it up")
    (port,) = free_ports(1)
    with Reaper() as reaper:
        running = RunningVllmGrpc(VllmGrpc(model_folder(None), port, folder / "vllm.log"), reaper)
        try:
            running.start()
            yield running
        finally:
            running.stop()
