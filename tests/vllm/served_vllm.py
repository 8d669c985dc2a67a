"""A real Triton over vLLM on the CPU, in the environment that `make test-vllm` sets up."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from stream.bundled import model_folder
from stream.local.ports import free_ports
from stream.local.reaper import Reaper
from stream.local.triton import TritonServer, why_unavailable
from tests.integration.running_service import RunningService

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "triton_models" / "vllm"
ENVIRONMENT = Path(os.environ.get("VLLM_VENV", ROOT / ".venv-vllm"))
CPU_OPTIONS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Compiling a sampling function with g++ takes longer than all the tests.
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True)
class VllmTriton(TritonServer):
    """A server whose stub takes the Python of vLLM's environment for its own."""

    options: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The engine's options, in float32 and small enough for a machine that does other work."""
        own = super().environment()
        return {
            **own,
            "PATH": os.pathsep.join((str(ENVIRONMENT / "bin"), own["PATH"])),
            "PADELLM_GPU_DTYPE": "float32",
            "PADELLM_GPU_MAX_SEQUENCES": "64",
            "OMP_NUM_THREADS": str(self.threads),
            **CPU_OPTIONS,
            **self.options,
        }


class RunningVllm(RunningService):
    """A server on free loopback ports, which it keeps over restarts."""

    patience = 600.0

    @property
    def url(self) -> str:
        """127.0.0.1:port, for gRPC."""
        return self.service.url

    def engine(self) -> psutil.Process:
        """The process of vLLM's engine."""
        return next(
            each for each in psutil.Process(self.pid).children(recursive=True) if "EngineCore" in each.name()
        )


@contextmanager
def serving(folder: Path, **options: str) -> Iterator[RunningVllm]:
    """Serve padellm-small-en; options are variables of the environment."""
    if reason := why_unavailable():
        pytest.skip(reason)
    if not (ENVIRONMENT / "bin" / "python3").exists():
        pytest.skip(f"{ENVIRONMENT} is not there: make test-vllm sets it up")
    http_port, grpc_port, metrics_port = free_ports(3)
    server = VllmTriton(
        folder=folder,
        models=MODELS,
        checkpoint=model_folder(None),
        threads=1,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        log_file=folder / "triton.log",
        options=options,
    )
    with Reaper() as reaper:
        running = RunningVllm(server, reaper)
        try:
            running.start()
            yield running
        finally:
            running.stop()
