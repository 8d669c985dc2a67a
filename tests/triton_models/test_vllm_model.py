"""The vLLM model of Triton's python backend, with stand-ins for the server and for vLLM."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stream.bundled import model_folder
from tests.triton_models.stub import MODELS, Request, load_model

_INPUTS = {
    "input_lengths": np.array([[3]], np.int32),
    "request_output_len": np.array([[4]], np.int32),
    "return_log_probs": np.array([[True]]),
}
_CONFIG = {
    "dynamic_batching": {"default_queue_policy": {"max_queue_size": 3}},
    "parameters": {"exclude_input_in_output": {"string_value": "true"}},
}


class EngineDeadError(Exception):
    """As vLLM has it."""


class Engine:
    """An engine that answers by the prompt's first id."""

    model_config = SimpleNamespace(get_vocab_size=lambda: 100, max_model_len=50)

    def __init__(self) -> None:
        self.errored = False
        self.aborted = threading.Event()

    async def generate(self, ids: dict[str, list[int]], sampling: Any, number: str) -> Any:
        """Answer with ids 7 and 8; 1 is refused, 2 waits, and 3 finds the engine dead."""
        match ids["prompt_token_ids"][0]:
            case 1:
                raise RuntimeError from ValueError("no room")
            case 2:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.aborted.set()
                    raise
            case 3:
                raise EngineDeadError("EngineCore encountered an issue")
        log_probs = [{one: SimpleNamespace(logprob=-0.5)} for one in (7, 8)]
        answer = SimpleNamespace(token_ids=[7, 8], logprobs=log_probs)
        yield SimpleNamespace(outputs=[answer], num_cached_tokens=16)

    def shutdown(self) -> None:
        """End."""


@pytest.fixture
def engine() -> Engine:
    """The stand-in for vLLM's engine."""
    return Engine()


@pytest.fixture
def deaths() -> list[str]:
    """Reasons for which the process would have ended."""
    return []


@pytest.fixture
def model(
    python_backend: ModuleType, engine: Engine, deaths: list[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The model, initialized."""
    provided = {
        "vllm": {"SamplingParams": SimpleNamespace},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": SimpleNamespace},
        "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: False)},
        "vllm.sampling_params": {
            "RequestOutputKind": SimpleNamespace(FINAL_ONLY=2),
            "StructuredOutputsParams": SimpleNamespace,
        },
        "vllm.v1.engine.async_llm": {"AsyncLLM": SimpleNamespace(from_engine_args=lambda arguments: engine)},
        "vllm.v1.engine.exceptions": {"EngineDeadError": EngineDeadError},
    }
    for name, contents in provided.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**contents))
    monkeypatch.setitem(sys.modules, "engine", load_model("vllm", monkeypatch, "engine"))
    module = load_model("vllm", monkeypatch)
    monkeypatch.setattr(module, "prepare_process", lambda: SimpleNamespace(communicate=lambda text: None))
    monkeypatch.setattr(module, "end_process", lambda reason: deaths.append(str(reason)))
    monkeypatch.setattr(module.gc, "freeze", lambda: None)
    monkeypatch.setenv("PADELLM_MODEL", str(model_folder(None)))
    served = module.TritonPythonModel()
    served.initialize({"model_config": json.dumps(_CONFIG)})
    yield served
    served.finalize()


def _ask(model: Any, *ids: int, **inputs: Any) -> Request:
    request = Request(
        ("output_ids", "sequence_length", "output_log_probs", "kv_cache_reused_blocks"),
        input_ids=np.array([ids], np.int32),
        **_INPUTS,
        **inputs,
    )
    model.execute([request])
    return request


def _answer(request: Request) -> dict[str, Any]:
    assert request.sender.sent.wait(10)
    return request.sender.responses[0]


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_vllm_model_answers_with_the_engines_tokens(model: Any) -> None:
    """Ids come without the end id, each with its log-probability, and blocks of the cache on request."""
    answer = _answer(
        _ask(model, *range(10, 30), end_id=np.array([[8]], np.int32), return_perf_metrics=np.array([[True]]))
    )
    assert answer["output_ids"].tolist() == [[[7]]]
    assert answer["output_log_probs"].tolist() == [[[-0.5]]]
    assert answer["kv_cache_reused_blocks"].tolist() == [[1]]


def test_vllm_model_failure_is_of_one_request(model: Any) -> None:
    """A request that vLLM refuses, or that would break it, fails alone and with the cause's own words."""
    refused, foreign, served = _ask(model, 1), _ask(model, 100), _ask(model, 10)
    assert str(_answer(refused)["error"]) == "no room"
    assert "token ids go from 0 to 99" in str(_answer(foreign)["error"])
    assert _answer(served)["error"] is None


def test_vllm_model_refuses_beyond_its_queue(model: Any) -> None:
    """The request beyond the limit of the configuration is told to come again."""
    waiting = [_ask(model, 2) for _ in range(3)]
    _wait(lambda: len(model._exchanges) == 3)
    assert "Maximum queue size of 3 has been reached" in str(_answer(_ask(model, 10))["error"])
    for request in waiting:
        request.sender._cancelled = True


def test_vllm_model_aborts_what_nobody_waits_for(model: Any, engine: Engine) -> None:
    """A request whose client is gone leaves the engine, and its sender gets its one response."""
    request = _ask(model, 2)
    request.sender._cancelled = True
    assert engine.aborted.wait(10)
    assert _answer(request)["error"].code == "CANCELLED"
    _wait(lambda: not model._exchanges)


def test_vllm_model_ends_with_its_engine(model: Any, engine: Engine, deaths: list[str]) -> None:
    """A dead engine ends the process: by the request that met it, or by itself while nothing is asked."""
    _ask(model, 3)
    _wait(lambda: deaths == ["EngineCore encountered an issue"])
    engine.errored = True
    _wait(lambda: "the engine of vLLM has died" in deaths)


def test_vllm_model_repository_holds_what_triton_needs() -> None:
    """The repository has one model, of the contract's name, with a version."""
    assert [each.name for each in (MODELS / "vllm").iterdir()] == ["tensorrt_llm"]
    assert (MODELS / "vllm" / "tensorrt_llm" / "1" / "model.py").is_file()
