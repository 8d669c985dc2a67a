"""The parts of deploy/bench_gpu.py that need no GPU and no Docker."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.deploy.test_compose import ROOT, SERVICES


@pytest.fixture
def bench_gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("bench_gpu", ROOT / "deploy" / "bench_gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where its data classes look for their module
    spec.loader.exec_module(module)
    return module


def test_bench_gpu_starts_services_that_there_are(bench_gpu: ModuleType) -> None:
    """Each backend is a service of the compose file, in the profile of its name."""
    for backend in bench_gpu.BACKENDS.values():
        service = SERVICES[backend.service]
        assert service["profiles"] == [backend.profile]
        assert all(f"${{{name}:-" in str(service["build"]["args"]) for name in backend.variables)
        command, environment = bench_gpu.compose(backend, None)
        files = [part for part in command if part.endswith(".yml")]
        assert all((ROOT / file).is_file() for file in files)
        assert "compose.gpu.yml" in files
        assert environment["COMPOSE_PROFILES"] == backend.profile


def test_bench_gpu_serves_a_model_of_ones_own(bench_gpu: ModuleType) -> None:
    """A model folder goes to the file that mounts it."""
    command, environment = bench_gpu.compose(bench_gpu.BACKENDS["vllm"], Path("/models/mine"))
    assert "compose.model.yml" in command
    assert environment["PADELLM_MODEL_DIR"] == "/models/mine"


def test_bench_gpu_says_that_there_is_no_gpu(bench_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver the command ends with a sentence, before it starts anything."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="no GPU here"):
        bench_gpu.gpu()
