"""The model of Triton's python backend, with stand-ins for the server."""

import gc
import json
import weakref
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace

import pytest

from stream.engine.decoder import EngineOptions
from stream.generation import Completion
from tests.triton_models.stub import REQUEST, Sender, load_model


@pytest.fixture
def model(python_backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The model's module, with stand-ins for the modules of Triton's stub."""
    return load_model("cpu", monkeypatch)


def test_cpu_model_releases_a_request_with_its_response(
    model: ModuleType, python_backend: ModuleType
) -> None:
    """No garbage collection is needed: the sender frees its part of the server's memory at once."""
    served = model.TritonPythonModel()
    future: Future[Completion] = Future()
    served._exchanges, served._done = {}, SimpleQueue()
    served._decoder = SimpleNamespace(submit_many=lambda prompts: [future])
    sender = Sender()
    left = weakref.ref(sender)
    gc.disable()
    try:
        served._start([python_backend.Exchange(REQUEST, sender)])
        del sender
        future.set_result(Completion((3,), (0.0,)))
        served._done.put(None)
        served._reply()
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({}, EngineOptions(threads=2)),
        (
            {
                "PADELLM_ENGINE_THREADS": "3",
                "PADELLM_KV_CACHE_MB": "7",
                "PADELLM_CONSTRAINED": "yes",
                "PADELLM_INT8": "1",
            },
            EngineOptions(threads=3, kv_cache_mb=7, constrained=True, int8=True),
        ),
    ],
)
def test_cpu_model_reads_its_options_as_the_worker_does(
    model: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environment: dict[str, str],
    options: EngineOptions,
) -> None:
    """Settings are those of ``stream.settings``, with its defaults and its forms of booleans."""
    for name, value in {**environment, "PADELLM_MODEL": str(tmp_path), "PADELLM_CACHE_DIR": "/c"}.items():
        monkeypatch.setenv(name, value)
    loaded = []
    monkeypatch.setattr(model.Decoder, "load", lambda *arguments: loaded.append(arguments))
    monkeypatch.setattr(model, "prepare_process", lambda: None)
    monkeypatch.setattr(model, "Thread", lambda target: SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(model.gc, "freeze", lambda: None)
    config = {
        "parameters": {
            "exclude_input_in_output": {"string_value": "true"},
            "max_queue_size": {"string_value": "5"},
        },
    }
    model.TritonPythonModel().initialize({"model_config": json.dumps(config)})
    assert loaded == [(tmp_path, replace(options, graph_cache=Path("/c")))]
