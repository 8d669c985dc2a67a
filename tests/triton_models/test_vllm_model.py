"""The vLLM model's engine, with a stand-in for vLLM."""

import asyncio
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stream.bundled import model_folder
from stream.generation import Completion, Prompt
from stream.inference.contract import NO_END, CacheUse
from stream.inference.gpu_options import GpuOptions
from stream.inference.token_engine import EngineDied, PromptLimits
from tests.triton_models.stub import MODELS, load_model


class EngineDeadError(Exception):
    """As vLLM has it."""


class EngineGenerateError(Exception):
    """As vLLM has it: without words, around what it did not expect."""


class AsyncEngine:
    """An engine that answers by the prompt's first id."""

    model_config = SimpleNamespace(get_vocab_size=lambda: 100, max_model_len=50)
    errored = False

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def generate(self, ids: dict[str, list[int]], sampling: Any, number: str) -> Any:
        """Answer with ids 7 and 8; 1 is refused, and 3 finds the engine dead."""
        self.asked.append(sampling)
        match ids["prompt_token_ids"][0]:
            case 1:
                raise EngineGenerateError from ValueError("no room")
            case 3:
                raise EngineDeadError("EngineCore encountered an issue")
        log_probs = [{one: SimpleNamespace(logprob=-0.5)} for one in (7, 8)]
        answer = SimpleNamespace(token_ids=[7, 8], logprobs=log_probs)
        yield SimpleNamespace(outputs=[answer], num_cached_tokens=16)


@pytest.fixture
def vllm() -> AsyncEngine:
    """The stand-in for vLLM's engine."""
    return AsyncEngine()


@pytest.fixture
def model(python_backend: ModuleType, vllm: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The model's module."""
    provided = {
        "vllm": {"SamplingParams": SimpleNamespace},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": SimpleNamespace},
        "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: False)},
        "vllm.sampling_params": {
            "RequestOutputKind": SimpleNamespace(FINAL_ONLY=2),
            "StructuredOutputsParams": SimpleNamespace,
        },
        "vllm.v1.engine.async_llm": {"AsyncLLM": SimpleNamespace(from_engine_args=lambda arguments: vllm)},
        "vllm.v1.engine.exceptions": {
            "EngineDeadError": EngineDeadError,
            "EngineGenerateError": EngineGenerateError,
        },
    }
    for name, contents in provided.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**contents))
    monkeypatch.delitem(sys.modules, "stream.inference.engine_model", raising=False)
    monkeypatch.setitem(sys.modules, "engine", load_model("vllm", monkeypatch, "engine"))
    return load_model("vllm", monkeypatch)


def _engine(model: ModuleType, **options: Any) -> Any:
    return model.VllmEngine(GpuOptions(model_folder(None), **options))


def test_vllm_model_answers_without_the_end_id(model: ModuleType) -> None:
    """The end id that vLLM leaves is cut, and cached tokens are counted in blocks."""
    engine = _engine(model)
    answer = asyncio.run(engine.generate(Prompt(tuple(range(10, 30)), 4, 8)))
    assert answer == (Completion((7,), (-0.5,)), CacheUse(reused=1, total=2))
    assert engine.limits == PromptLimits(vocabulary=100, length=50)


def test_vllm_model_failure_has_the_causes_words(model: ModuleType) -> None:
    """VLLM wraps what it did not expect in an error without words: the cause is what the client gets."""
    with pytest.raises(ValueError, match="no room"):
        asyncio.run(_engine(model).generate(Prompt((1,), 4, 8)))


def test_vllm_model_knows_a_dead_engine(model: ModuleType, vllm: AsyncEngine) -> None:
    """Death is known from the request that met it, and from the engine itself."""
    engine = _engine(model)
    with pytest.raises(EngineDied, match="EngineCore encountered an issue"):
        asyncio.run(engine.generate(Prompt((3,), 4, 8)))
    assert not engine.dead
    vllm.errored = True
    assert engine.dead


def test_vllm_model_constrains_mentions_alone(model: ModuleType, vllm: AsyncEngine) -> None:
    """A mention has a grammar where the option says so; a count has none."""
    engine = _engine(model, constrained=True)
    asyncio.run(engine.generate(Prompt((300, 301), 4, 8)))
    asyncio.run(engine.generate(Prompt((300, 301), 1, NO_END, (8,))))
    grammars = [each.structured_outputs and each.structured_outputs.grammar for each in vllm.asked]
    assert grammars[0].startswith("start: SUB")
    assert grammars[1] is None


@pytest.mark.parametrize("backend", ["vllm", "llmapi"])
def test_model_repository_holds_what_triton_needs(backend: str) -> None:
    """The repository has one model, of the contract's name, with a version."""
    assert [each.name for each in (MODELS / backend).iterdir()] == ["tensorrt_llm"]
    assert (MODELS / backend / "tensorrt_llm" / "1" / "model.py").is_file()
