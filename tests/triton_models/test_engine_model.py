"""The model over an engine on an event loop, with stand-ins for Triton's server and for the engine."""

import asyncio
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stream.generation import Completion, Prompt
from stream.inference.contract import CacheUse
from stream.inference.token_engine import EngineDied, PromptLimits
from tests.triton_models.stub import Request

CONFIG = {
    "parameters": {
        "exclude_input_in_output": {"string_value": "true"},
        "max_queue_size": {"string_value": "3"},
    },
}
_INPUTS = {
    "input_lengths": np.array([[3]], np.int32),
    "request_output_len": np.array([[4]], np.int32),
    "return_log_probs": np.array([[True]]),
}


class Engine:
    """An engine that answers by the prompt's first id."""

    limits = PromptLimits(vocabulary=100, length=50)

    def __init__(self) -> None:
        self.dead = False
        self.aborted = threading.Event()

    async def generate(self, prompt: Prompt) -> tuple[Completion, CacheUse]:
        """Answer with id 7; 1 is refused, 2 waits, and 3 finds the engine dead."""
        match prompt.ids[0]:
            case 1:
                raise ValueError("no room")
            case 2:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.aborted.set()
                    raise
            case 3:
                raise EngineDied("it is gone")
        return Completion((7,), (-0.5,)), CacheUse(reused=1, total=2)

    def shutdown(self) -> None:
        """End."""


@pytest.fixture
def engine() -> Engine:
    """The stand-in for the engine."""
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
    monkeypatch.delitem(sys.modules, "stream.inference.engine_model", raising=False)
    module = importlib.import_module("stream.inference.engine_model")
    monkeypatch.setattr(module, "prepare_process", lambda: SimpleNamespace(communicate=lambda text: None))
    monkeypatch.setattr(module, "end_process", lambda reason: deaths.append(str(reason)))
    monkeypatch.setattr(module.gc, "freeze", lambda: None)

    async def open_engine() -> Engine:
        return engine

    served = module.EngineModel("other engine", open_engine)
    served.initialize({"model_config": json.dumps(CONFIG)})
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


def test_engine_model_answers_with_the_engines_tokens(model: Any) -> None:
    """Ids and log-probabilities have the contract's shapes; blocks of the cache come on request."""
    answer = _answer(_ask(model, 10, 11, 12, return_perf_metrics=np.array([[True]])))
    assert answer["output_ids"].tolist() == [[[7]]]
    assert answer["output_log_probs"].tolist() == [[[-0.5]]]
    assert answer["kv_cache_reused_blocks"].tolist() == [[1]]


def test_engine_model_failure_is_of_one_request(model: Any) -> None:
    """A request that the engine refuses, or that would break it, fails alone and with the reason."""
    refused, foreign, served = _ask(model, 1), _ask(model, 100), _ask(model, 10)
    assert str(_answer(refused)["error"]) == "no room"
    assert "token ids go from 0 to 99" in str(_answer(foreign)["error"])
    assert _answer(served)["error"] is None


def test_engine_model_names_the_engine_that_cannot(model: Any) -> None:
    """A request that greedy decoding cannot honour is told which engine it met."""
    refused = _answer(_ask(model, 10, temperature=np.array([[0.5]], np.float32)))
    assert "the other engine decodes greedily" in str(refused["error"])


def test_engine_model_refuses_beyond_its_queue(model: Any) -> None:
    """The request beyond the limit of the configuration is told to come again."""
    waiting = [_ask(model, 2) for _ in range(3)]
    _wait(lambda: len(model._exchanges) == 3)
    assert "Maximum queue size of 3 has been reached" in str(_answer(_ask(model, 10))["error"])
    for request in waiting:
        request.sender._cancelled = True


def test_engine_model_aborts_what_nobody_waits_for(model: Any, engine: Engine) -> None:
    """A request whose client is gone leaves the engine, and its sender gets its one response."""
    request = _ask(model, 2)
    request.sender._cancelled = True
    assert engine.aborted.wait(10)
    assert _answer(request)["error"].code == "CANCELLED"
    _wait(lambda: not model._exchanges)


def test_engine_model_ends_with_its_engine(model: Any, engine: Engine, deaths: list[str]) -> None:
    """A dead engine ends the process: by the request that met it, or by itself while nothing is asked."""
    _ask(model, 3)
    _wait(lambda: deaths == ["it is gone"])
    engine.dead = True
    _wait(lambda: "the other engine has died" in deaths)
