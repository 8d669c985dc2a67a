"""The LLM API model's engine, with a stand-in that keeps what TensorRT-LLM 1.2 documents."""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stream.bundled import model_folder
from stream.generation import Completion, Prompt
from stream.inference.contract import NO_END, CacheUse
from stream.inference.gpu_options import GpuOptions
from stream.inference.token_engine import EngineDied, PromptLimits
from tests.triton_models.stub import MODELS, load_model

END, STOP = 5, 9
TOKENS = (7, STOP, 8, END, 6)  # what the stand-in goes on with, if nothing ends it


class RequestError(RuntimeError):
    """As TensorRT-LLM has it: the failure of one request."""


@dataclass
class SamplingParams:
    """The fields that the model sets, with TensorRT-LLM's defaults."""

    end_id: int | None = None
    pad_id: int | None = None
    max_tokens: int = 32
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    top_k: int | None = None
    logprobs: int | None = None
    guided_decoding: Any = None
    ignore_eos: bool = False
    detokenize: bool = True
    add_special_tokens: bool = True


@dataclass
class Result:
    """A request under way: it can be awaited, and aborted."""

    ids: list[int]
    sampling: SamplingParams
    cached_tokens: int = 32
    outputs: list[Any] = field(default_factory=list)
    aborted: bool = False

    def __await__(self) -> Any:
        return self._finish().__await__()

    def abort(self) -> None:
        """Leave the engine."""
        self.aborted = True

    async def _finish(self) -> "Result":
        match self.ids[0]:
            case 1:
                raise RequestError("no room")
            case 2:
                await asyncio.sleep(60)
            case 3:
                raise RuntimeError("MPI rank 0 is gone")
        produced: list[int] = []
        for one in TOKENS[: self.sampling.max_tokens]:
            produced.append(one)
            if one == self.sampling.end_id or one in (self.sampling.stop_token_ids or ()):
                break
        log_probs = [{one: SimpleNamespace(logprob=-one / 10, rank=1)} for one in produced]
        if produced[-1] in (self.sampling.stop_token_ids or ()) and (
            not self.sampling.include_stop_str_in_output
        ):
            del produced[-1]  # and its log-probability stays
        scores = log_probs if self.sampling.logprobs else []
        self.outputs = [SimpleNamespace(token_ids=produced, logprobs=scores)]
        return self


class Llm:
    """The engine: it notes with what it was made and asked."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.config = json.loads((Path(arguments["model"]) / "config.json").read_text(encoding="utf-8"))
        self.results: list[Result] = []

    def generate_async(self, inputs: list[int], sampling_params: SamplingParams) -> Result:
        """Take a prompt, unless it is longer than a pass."""
        if inputs[0] == 4:
            raise ValueError("The sum of prompt length should not exceed max_num_tokens")
        result = Result(inputs, sampling_params)
        self.results.append(result)
        return result

    def shutdown(self) -> None:
        """End."""


@pytest.fixture
def model(python_backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The model's module."""
    provided = {
        "tensorrt_llm": {"LLM": Llm, "SamplingParams": SamplingParams},
        "tensorrt_llm.llmapi": {
            "GuidedDecodingParams": SimpleNamespace,
            "KvCacheConfig": SimpleNamespace,
            "RequestError": RequestError,
        },
    }
    for name, contents in provided.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**contents))
    monkeypatch.delitem(sys.modules, "stream.inference.engine_model", raising=False)
    monkeypatch.syspath_prepend(MODELS.parent / "deploy" / "engine")
    monkeypatch.setitem(sys.modules, "engine", load_model("llmapi", monkeypatch, "engine"))
    return load_model("llmapi", monkeypatch)


@pytest.fixture
def engine(model: ModuleType) -> Any:
    """The engine over the bundled model's folder."""
    made = model.LlmApiEngine(GpuOptions(model_folder(None)))
    yield made
    made.shutdown()


def test_llmapi_model_answers_up_to_the_end_id(engine: Any) -> None:
    """The end id is no part of the answer; each token has its own log-probability."""
    prompt = Prompt(tuple(range(10, 50)), 5, END)
    answer = asyncio.run(engine.generate(prompt))
    assert answer == (Completion((7, 9, 8), (-0.7, -0.9, -0.8)), CacheUse(reused=1, total=2))


def test_llmapi_model_answer_ends_with_its_stop_id(engine: Any) -> None:
    """A stop id ends the answer and stays in it, also where no end id is asked for."""
    completion, _ = asyncio.run(engine.generate(Prompt((10,), 5, NO_END, (STOP,))))
    assert completion == Completion((7, 9), (-0.7, -0.9))


def test_llmapi_model_heeds_the_requests_end_alone(engine: Any) -> None:
    """Without an end id the answer has its whole length."""
    completion, _ = asyncio.run(engine.generate(Prompt((10,), 5, NO_END)))
    assert completion.ids == TOKENS


@pytest.mark.parametrize(("first", "words"), [(1, "no room"), (4, "max_num_tokens")])
def test_llmapi_model_failure_is_of_one_request(engine: Any, first: int, words: str) -> None:
    """What TensorRT-LLM says of a request is its failure, and leaves the engine alive."""
    with pytest.raises((RequestError, ValueError), match=words):
        asyncio.run(engine.generate(Prompt((first,), 5, END)))


def test_llmapi_model_knows_a_dead_engine(engine: Any) -> None:
    """Every other error has ended TensorRT-LLM's engine."""
    with pytest.raises(EngineDied, match="MPI rank 0 is gone"):
        asyncio.run(engine.generate(Prompt((3,), 5, END)))


async def test_llmapi_model_cancellation_reaches_the_engine(engine: Any) -> None:
    """A request that nobody waits for is aborted."""
    task = asyncio.create_task(engine.generate(Prompt((2,), 5, END)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine._llm.results[-1].aborted


def test_llmapi_model_reads_the_checkpoint_in_older_words(engine: Any) -> None:
    """TensorRT-LLM 1.2 reads a folder through transformers 4: it gets the view of it, with our limits."""
    assert "rope_theta" in engine._llm.config
    assert "rope_parameters" not in engine._llm.config
    assert engine.limits == PromptLimits(
        engine._llm.config["vocab_size"], engine._llm.config["max_position_embeddings"]
    )
    assert engine._llm.arguments["max_seq_len"] == engine.limits.length


def test_llmapi_model_constrains_mentions_alone(model: ModuleType) -> None:
    """A mention has a grammar where the option says so; a count has none."""
    engine = model.LlmApiEngine(GpuOptions(model_folder(None), constrained=True))
    asyncio.run(engine.generate(Prompt((300, 301), 4, END)))
    asyncio.run(engine.generate(Prompt((300, 301), 1, NO_END, (STOP,))))
    mention, count = (result.sampling.guided_decoding for result in engine._llm.results)
    assert mention.grammar.startswith("start: SUB")
    assert count is None
    engine.shutdown()
