"""Promises of the model in Triton's python backend that a server would break only now and then."""

import gc
import importlib.util
import sys
import threading
import time
import weakref
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace

import pytest

from stream.generation import Completion, Prompt

_FOLDER = Path(__file__).parents[2] / "triton_models" / "cpu" / "tensorrt_llm" / "1"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The model's module, with stand-ins for what Triton's stub provides."""
    provided = SimpleNamespace(
        Tensor=lambda name, array: (name, array),
        InferenceResponse=lambda tensors: tensors,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", provided)
    monkeypatch.syspath_prepend(_FOLDER)
    monkeypatch.delitem(sys.modules, "question", raising=False)
    spec = importlib.util.spec_from_file_location("cpu_model", _FOLDER / "model.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cpu_model", module)
    spec.loader.exec_module(module)
    return module


class _Sender:
    """Notes what it is asked for, and takes its time over the question whether the client is gone."""

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


def _job(model: ModuleType, sender: _Sender) -> object:
    question = model.Question(Prompt((1,), 1, 2), frozenset({"output_ids"}), True, False, False, False)
    return model.Job(question, sender)


def test_cpu_model_asks_no_sender_that_answers_or_has_answered(model: ModuleType) -> None:
    """Whether its client is gone is asked before the answer leaves, or never: Triton would crash."""
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


def test_cpu_model_looks_less_often_after_a_prompt_that_grows_old(model: ModuleType) -> None:
    """The first look comes after a tenth of a second, each next at twice that age or half a second later."""
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


def test_cpu_model_lets_go_of_a_request_once_it_is_answered(model: ModuleType) -> None:
    """Nothing of it waits for a collection: what its sender holds of the server's memory is free at once."""
    served = model.TritonPythonModel()
    future: Future[Completion] = Future()
    served._jobs, served._done = {}, SimpleQueue()
    served._decoder = SimpleNamespace(submit_many=lambda prompts: [future])
    question = model.Question(Prompt((1,), 1, 2), frozenset({"output_ids"}), True, False, False, False)
    sender = _Sender()
    left = weakref.ref(sender)
    gc.disable()
    try:
        served._start([(question, sender)])
        del sender
        future.set_result(Completion((3,), (0.0,)))
        served._done.put(None)
        served._reply()
        assert left() is None
    finally:
        gc.enable()
