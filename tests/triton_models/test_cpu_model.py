"""The model of Triton's python backend, with stand-ins for the server."""

import gc
import importlib.util
import json
import sys
import threading
import time
import weakref
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace

import pytest

from stream.engine.decoder import EngineOptions
from stream.generation import Completion, Prompt

_FOLDER = Path(__file__).parents[2] / "triton_models" / "cpu" / "tensorrt_llm" / "1"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The model's module, with stand-ins for the modules of Triton's stub."""
    provided = SimpleNamespace(
        Tensor=lambda name, array: (name, array),
        InferenceResponse=lambda tensors: tensors,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", provided)
    monkeypatch.syspath_prepend(_FOLDER)
    monkeypatch.delitem(sys.modules, "request", raising=False)
    spec = importlib.util.spec_from_file_location("cpu_model", _FOLDER / "model.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cpu_model", module)
    spec.loader.exec_module(module)
    return module


class _Sender:
    """A response sender that records its calls and is slow to report a cancellation."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.asked = threading.Event()

    def is_cancelled(self) -> bool:
        self.notes.append("asked")
        self.asked.set()
        time.sleep(0.05)
        self.notes.append("told")
        return True

    def send(self, response: object, flags: int) -> None:
        self.notes.append("sent")


def _request(model: ModuleType) -> object:
    return model.GenerationRequest(Prompt((1,), 1, 2), frozenset({"output_ids"}), True, False, False, False)


def _job(model: ModuleType, sender: _Sender) -> object:
    return model.Job(_request(model), sender)


def test_cpu_model_calls_no_sender_during_or_after_its_response(model: ModuleType) -> None:
    """Cancellation is checked before the response leaves, or never: Triton would crash."""
    sender = _Sender()
    job = _job(model, sender)
    looking = threading.Thread(target=job.is_abandoned, args=(time.monotonic() + 1,))
    looking.start()
    sender.asked.wait()
    future: Future[Completion] = Future()
    future.set_result(Completion((3,), (0.0,)))
    job.reply(future)
    looking.join()
    assert not job.is_abandoned(time.monotonic() + 100)
    assert sender.notes == ["asked", "told", "sent"]


def test_cpu_model_checks_old_requests_less_often(model: ModuleType) -> None:
    """The first check comes after a tenth of a second, the next ones at twice that age or .5 s later."""
    sender = _Sender()
    job = _job(model, sender)
    began = time.monotonic()
    looks = []
    for tenth in range(1, 60):
        before = len(sender.notes)
        job.is_abandoned(began + tenth / 10 + 0.05)
        if len(sender.notes) > before:
            looks.append(tenth)
    assert looks[:3] == [1, 3, 7]
    assert all(later - earlier in (5, 6) for earlier, later in pairwise(looks[2:]))


def test_cpu_model_releases_a_request_with_its_response(model: ModuleType) -> None:
    """No garbage collection is needed: the sender frees its part of the server's memory at once."""
    served = model.TritonPythonModel()
    future: Future[Completion] = Future()
    served._jobs, served._done = {}, SimpleQueue()
    served._decoder = SimpleNamespace(submit_many=lambda prompts: [future])
    sender = _Sender()
    left = weakref.ref(sender)
    gc.disable()
    try:
        served._start([(_request(model), sender)])
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
    monkeypatch.setattr(model, "_forget_shared_memory_name", lambda: None)
    monkeypatch.setattr(model, "_end_server_with_this_process", lambda: None)
    monkeypatch.setattr(model, "Thread", lambda target: SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(model.gc, "freeze", lambda: None)
    monkeypatch.setattr(model.sys, "stdout", SimpleNamespace(reconfigure=lambda **_: None))
    monkeypatch.setattr(model.sys, "stderr", SimpleNamespace(reconfigure=lambda **_: None))
    config = {
        "dynamic_batching": {"default_queue_policy": {"max_queue_size": 5}},
        "parameters": {"exclude_input_in_output": {"string_value": "true"}},
    }
    model.TritonPythonModel().initialize({"model_config": json.dumps(config)})
    assert loaded == [(tmp_path, replace(options, graph_cache=Path("/c")))]
