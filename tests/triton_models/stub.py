"""Stand-ins for what Triton's python backend gives a model: its module, and response senders."""

import importlib.util
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from stream.generation import Prompt
from stream.inference.contract import GenerationRequest

MODELS = Path(__file__).parents[2] / "triton_models"
REQUEST = GenerationRequest(Prompt((1,), 1, 2), frozenset({"output_ids"}), exclude_input=True)


class TritonError(Exception):
    """An error as Triton has it."""

    INTERNAL, UNSUPPORTED, CANCELLED = "INTERNAL", "UNSUPPORTED", "CANCELLED"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Sender:
    """A response sender that records its calls and is slow to report a cancellation."""

    def __init__(self, *, cancelled: bool = True) -> None:
        self.notes: list[str] = []
        self.responses: list[dict[str, object]] = []
        self.asked = threading.Event()
        self.sent = threading.Event()
        self._cancelled = cancelled

    def is_cancelled(self) -> bool:
        """Say whether the client is gone."""
        self.notes.append("asked")
        self.asked.set()
        time.sleep(0.05)
        self.notes.append("told")
        return self._cancelled

    def send(self, response: dict[str, object], flags: int) -> None:
        """Take the response."""
        self.notes.append("sent")
        self.responses.append(response)
        self.sent.set()


class Request:
    """A request of the python backend."""

    def __init__(
        self, outputs: tuple[str, ...] = ("output_ids", "sequence_length"), **inputs: object
    ) -> None:
        self.sender = Sender(cancelled=False)
        self._outputs = outputs
        self._inputs = inputs

    def inputs(self) -> list[object]:
        """Tensors."""
        return [
            SimpleNamespace(name=lambda name=name: name, as_numpy=lambda array=array: array)
            for name, array in self._inputs.items()
        ]

    def requested_output_names(self) -> tuple[str, ...]:
        """Names."""
        return self._outputs

    def get_response_sender(self) -> Sender:
        """The one sender."""
        return self.sender


def _response(tensors: object = (), error: object = None) -> dict[str, object]:
    return {"error": error, **dict(tensors)}


@pytest.fixture
def python_backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``stream.inference.python_backend`` over a stand-in for the stub's own module."""
    log = SimpleNamespace(log_error=lambda text: None, log_warn=lambda text: None)
    provided = SimpleNamespace(
        Tensor=lambda name, array: (name, array),
        InferenceResponse=_response,
        TritonError=TritonError,
        Logger=log,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", provided)
    monkeypatch.delitem(sys.modules, "stream.inference.python_backend", raising=False)
    return importlib.import_module("stream.inference.python_backend")


def load_model(engine: str, monkeypatch: pytest.MonkeyPatch, name: str = "model") -> ModuleType:
    """A module of a model's version folder, as the stub imports it."""
    folder = MODELS / engine / "tensorrt_llm" / "1"
    monkeypatch.syspath_prepend(folder)
    spec = importlib.util.spec_from_file_location(f"{engine}_{name}", folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module
