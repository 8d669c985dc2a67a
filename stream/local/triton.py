"""A real Triton server on this machine: the program and python backend inside the nvidia-pytriton wheel.

The wheel's own Python API is not used. Its backend runs each model in a *stub*, a program with an embedded
Python of a fixed version. The stub takes the first ``python3`` on ``PATH`` for its home, and so sees what
that one sees, this environment's packages included; it needs that Python's shared library at hand.
"""

import os
import platform
import re
import sys
import sysconfig
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from stream.errors import StackError
from stream.inference.repository import write_repository
from stream.inference.triton import TritonGenerator
from stream.local.ports import LOOPBACK, is_listening

_OLDEST_GLIBC = (2, 35)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9@%+=:,./_-]+")
_INSTEAD = "use `--inference in-process`, which serves with the same engine inside the worker"


def why_unavailable() -> str | None:
    """The reason that no Triton server can run here, and the alternative; None where one can."""
    reason = _wheel_missing() or _system_unfit() or _python_unfit()
    return f"Triton cannot run here: {reason}; {_INSTEAD}" if reason else None


@dataclass(frozen=True)
class TritonServer:
    """The embedded Triton, a service of the stack.

    Attributes:
        folder: For the backend folder.
        models: The model repository (the bundled ``triton_models/cpu``).
        checkpoint: Model folder that the engine loads.
        threads: Threads of the engine.
        http_port: Port of health over HTTP, on loopback.
        grpc_port: Port for clients, on loopback.
        metrics_port: Port of Triton's own Prometheus metrics, on loopback.
        log_file: Where its output goes.
        kv_cache_mb: MiB of the engine's KV cache.
        constrained: Whether decoded mentions are constrained to substrings of the text.
        int8: Whether the engine is int8-quantised.
    """

    folder: Path
    models: Path
    checkpoint: Path
    threads: int
    http_port: int
    grpc_port: int
    metrics_port: int
    log_file: Path
    kv_cache_mb: int = 128
    constrained: bool = False
    int8: bool = False

    name = "triton"

    @property
    def url(self) -> str:
        """host:port for clients."""
        return f"{LOOPBACK}:{self.grpc_port}"

    def prepare(self) -> None:
        """Link backend folder and model repository together; the model's configuration gets its stamp.

        Raises:
            StackError: Triton cannot run here or in a folder so named, or there is no model.
        """
        if reason := why_unavailable():
            raise StackError(reason)
        if not (self.checkpoint / "config.json").is_file():
            raise StackError(f"{self.checkpoint} is no model folder: it holds no config.json")
        for path in (self._backends, self.models, self.checkpoint, Path(sys.prefix)):
            if not _PLAIN_PATH.fullmatch(str(path.resolve())):
                raise StackError(
                    f"Triton's python backend cannot work in {path}: its paths pass a shell unquoted and are "
                    f"read as ASCII. Choose a folder named without spaces and special letters, or {_INSTEAD}"
                )
        backend = self._backends / "python"
        backend.mkdir(parents=True, exist_ok=True)
        for source in (*(_distribution() / "backends" / "python").iterdir(), _stub()):
            _link(backend / source.name, source)
        write_repository(self.models, self._repository, self.checkpoint)

    def command(self) -> list[str]:
        """The server's command line."""
        ports = {"http": self.http_port, "grpc": self.grpc_port, "metrics": self.metrics_port}
        addresses = [f"--{kind}-address={LOOPBACK}" for kind in ports]
        return [
            str(_distribution() / "bin" / "tritonserver"),
            f"--model-repository={self._repository}",
            f"--backend-directory={self._backends}",
            *addresses,
            *(f"--{kind}-port={port}" for kind, port in ports.items()),
            # A stub only to complete a configuration that is complete would double the time to start.
            "--disable-auto-complete-config",
            "--backend-config=python,stub-timeout-seconds=120",
            "--backend-config=python,shm-default-byte-size=16777216",
            f"--backend-config=python,shm-region-prefix-name=padellm_{self.grpc_port}_",
            "--grpc-infer-allocation-pool-size=256",
            "--exit-timeout-secs=10",
            "--allow-gpu-metrics=false",
            "--log-format=ISO8601",
        ]

    def environment(self) -> dict[str, str]:
        """The model's settings, and the paths that make the stub this environment's Python."""
        folder = _python_library_folder()
        return {
            "PADELLM_MODEL": str(self.checkpoint.resolve()),
            "PADELLM_ENGINE_THREADS": str(self.threads),
            "PADELLM_KV_CACHE_MB": str(self.kv_cache_mb),
            "PADELLM_CONSTRAINED": str(self.constrained).lower(),
            "PADELLM_INT8": str(self.int8).lower(),
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
            **({"LD_LIBRARY_PATH": str(folder)} if folder else {}),
        }

    async def is_ready(self) -> bool:
        """True if server and model would serve a request now."""
        if not is_listening(self.grpc_port):
            return False
        client = TritonGenerator(self.url)
        try:
            return await client.ready()
        finally:
            await client.close()

    @cached_property
    def _backends(self) -> Path:
        return self.folder / "backends"

    @cached_property
    def _repository(self) -> Path:
        return self.folder / "repository"


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)  # an older environment's, perhaps
    link.symlink_to(target)


def _distribution() -> Path:
    spec = find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("the nvidia-pytriton wheel is not installed: pip install 'padellm-stream[local]'")
    return Path(spec.submodule_search_locations[0]) / "tritonserver"


def _stub() -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _distribution() / "python_backend_stubs" / version / "triton_python_backend_stub"


def _wheel_missing() -> str | None:
    if find_spec("pytriton") is not None:
        return None
    if platform.system() != "Linux":
        return f"its wheel exists for Linux alone, and this is {platform.system()}"
    if sys.version_info >= (3, 13):
        return "its wheel needs numpy 1.26, which has no build for Python 3.13 or newer (3.11 and 3.12 do)"
    return "the nvidia-pytriton wheel is not installed (pip install 'padellm-stream[local]')"


def _system_unfit() -> str | None:
    library, version = platform.libc_ver()
    if library != "glibc":
        return "its program needs glibc, and this system has another C library (musl?)"
    if tuple(map(int, version.split(".")[:2])) < _OLDEST_GLIBC:
        return f"its program needs glibc 2.35 or newer, and this system has {version}"
    return None


def _python_unfit() -> str | None:
    if not _stub().is_file():
        return f"it has no python backend for Python {platform.python_version()}"
    if _python_library_folder() is None and find_library(_library_stem()) is None:
        return (
            f"its python backend needs the shared library lib{_library_stem()}.so.1.0, which this Python was "
            f"built without (Debian and Ubuntu: apt install lib{_library_stem()}; pyenv: --enable-shared)"
        )
    return None


def _library_stem() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def _python_library_folder() -> Path | None:
    """The folder of this Python's shared library; None when only the system's loader may find it."""
    folders = {Path(str(sysconfig.get_config_var("LIBDIR"))), Path(sys.base_prefix) / "lib"}
    for folder in folders:
        if (folder / f"lib{_library_stem()}.so.1.0").is_file():
            return folder
    return None
