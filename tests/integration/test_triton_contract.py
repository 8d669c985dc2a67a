"""The ``tensorrt_llm`` contract, kept by the CPU engine in a real Triton server."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerException

from stream.engine.decoder import Decoder, EngineOptions
from stream.errors import InferenceRejected
from stream.generation import Prompt
from stream.inference.contract import BATCH_REFUSED, STREAMING_REFUSED
from stream.inference.triton import TritonGenerator
from stream.local.ports import free_ports
from tests.integration.nvidia_client import infer
from tests.integration.triton_fixture import RunningTriton

pytestmark = pytest.mark.integration

ONE_TOKEN = Path(__file__).parents[2] / "triton_models" / "one_token.py"
_NO_END = 2**31 - 1
_PROMPT = Prompt(tuple(range(40, 70)), 6, _NO_END)
# Log-probabilities move in the last bits with what else is in a pass.
_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def decoder(tiny_checkpoint: Path) -> Iterator[Decoder]:
    """The same engine over the same weights, in this process."""
    decoder = Decoder.load(tiny_checkpoint, EngineOptions(threads=1))
    yield decoder
    decoder.close()


@pytest.fixture
async def generator(triton: RunningTriton) -> AsyncIterator[TritonGenerator]:
    """The client under test."""
    generator = TritonGenerator(triton.url)
    yield generator
    await generator.close()


async def _infer(triton: RunningTriton, *outputs: str, **changes: NDArray[Any] | None) -> dict[str, Any]:
    """What NVIDIA's client gets for ``_PROMPT``; ``changes`` replace or (None) remove inputs."""
    return await infer(triton.url, _PROMPT, *outputs, **changes)


def _scalar(value: float, dtype: Any = np.int32) -> NDArray[Any]:
    return np.array([[value]], dtype)


async def test_triton_lets_no_prompt_lie_in_its_queue(generator: TritonGenerator) -> None:
    """A few prompts at once reach the engine at once; a lost signal in the batcher would cost 500 ms."""
    seconds = []
    for number in range(100):
        began = time.perf_counter()
        prompts = [Prompt((*_PROMPT.ids, number, at), 2, _NO_END) for at in range(4)]
        await asyncio.gather(*(generator.generate(prompt) for prompt in prompts))
        seconds.append(time.perf_counter() - began)
    # A busy machine may hold one or two up; with a limit in Triton's queue policy every third was.
    assert sum(each > 0.45 for each in seconds) <= 2


async def test_triton_is_ready(generator: TritonGenerator) -> None:
    """A server that has loaded the model is ready."""
    assert await generator.ready()


def test_triton_gives_a_token_to_the_health_check(triton: RunningTriton, tmp_path: Path) -> None:
    """The containers' health check gets its token from a real server, and none from one that is away."""
    (nobody,) = free_ports(1)
    for port, status in ((triton.service.http_port, 0), (nobody, 1)):
        url = f"http://127.0.0.1:{port}/v2/models/tensorrt_llm/infer"
        command = [sys.executable, ONE_TOKEN, "--url", url, "--state", tmp_path / "state"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr


async def test_triton_answers_as_the_engine_in_process(generator: TritonGenerator, decoder: Decoder) -> None:
    """200 prompts at once, sharing prefixes or not, get the engine's own tokens and log-probabilities."""
    random = np.random.default_rng(7)
    documents = [tuple(random.integers(0, 256, 30).tolist()) for _ in range(20)]
    prompts = [
        Prompt((*document, *tail), 5, 100, (7,))
        for document in documents
        for tail in [(), *random.integers(0, 256, (9, 6)).tolist()]
    ]
    here = [future.result() for future in decoder.submit_many(prompts)]
    there = await asyncio.gather(*map(generator.generate, prompts))
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.ids == ours.ids
        assert theirs.log_probs == pytest.approx(ours.log_probs, abs=_TOLERANCE)


async def test_triton_shapes_are_those_of_tensorrt_llm(triton: RunningTriton, decoder: Decoder) -> None:
    """One prompt, one beam: [1, 1, n] for sequences, [1, 1] for their scalars; sums are sums."""
    answer = await _infer(triton)
    expected = decoder.submit(_PROMPT).result()
    assert answer["output_ids"].tolist() == [[list(expected.ids)]]
    assert answer["sequence_length"].tolist() == [[len(expected.ids)]]
    assert answer["output_log_probs"] == pytest.approx(np.array([[expected.log_probs]]), abs=_TOLERANCE)
    assert answer["cum_log_probs"] == pytest.approx(np.array([[sum(expected.log_probs)]]), abs=_TOLERANCE)


async def test_triton_leaves_out_what_was_not_asked_for(triton: RunningTriton) -> None:
    """Optional outputs come only when an input asks for them, and then only those that the request lists."""
    assert set(await _infer(triton, return_log_probs=None)) == {"output_ids", "sequence_length"}
    answer = await _infer(
        triton, "output_ids", "sequence_length", "num_input_tokens", return_num_input_tokens=_scalar(1, bool)
    )
    assert set(answer) == {"output_ids", "sequence_length", "num_input_tokens"}
    assert answer["num_input_tokens"].tolist() == [[len(_PROMPT.ids)]]


async def test_triton_ends_before_the_end_id_and_after_a_stop_word(
    generator: TritonGenerator, decoder: Decoder
) -> None:
    """The end id is no part of the answer; a stop word is its last part."""
    first, second, *_ = decoder.submit(_PROMPT).result().ids
    assert first != second, "the tiny model repeats itself at once: choose another prompt"
    ended = await generator.generate(Prompt(_PROMPT.ids, 6, second))
    stopped = await generator.generate(Prompt(_PROMPT.ids, 6, _NO_END, (second,)))
    assert (ended.ids, len(ended.log_probs)) == ((first,), 1)
    assert (stopped.ids, len(stopped.log_probs)) == ((first, second), 2)


async def test_triton_answers_nothing_when_the_end_comes_first(
    generator: TritonGenerator, decoder: Decoder
) -> None:
    """An answer that ends at once is empty, and no error."""
    first = decoder.submit(_PROMPT).result().ids[0]
    assert (await generator.generate(Prompt(_PROMPT.ids, 6, first))).ids == ()


async def test_triton_returns_the_prompt_on_request(triton: RunningTriton) -> None:
    """With exclude_input_in_output=false the ids and their number include the prompt."""
    answer = await _infer(triton, exclude_input_in_output=_scalar(0, bool))
    ids = answer["output_ids"][0, 0].tolist()
    assert tuple(ids[: len(_PROMPT.ids)]) == _PROMPT.ids
    assert answer["sequence_length"].tolist() == [[len(ids)]]
    assert answer["output_log_probs"].shape == (1, 1, len(ids) - len(_PROMPT.ids))


async def test_triton_ignores_the_length_of_a_lone_prompt(triton: RunningTriton) -> None:
    """All ids count, whatever input_lengths says, as in the C++ backend."""
    answer, other = await asyncio.gather(_infer(triton), _infer(triton, input_lengths=_scalar(3)))
    assert answer["output_ids"].tolist() == other["output_ids"].tolist()


_TWO_PROMPTS: dict[str, NDArray[Any]] = {
    "input_ids": np.array([_PROMPT.ids] * 2, np.int32),
    "input_lengths": np.array([[30]] * 2, np.int32),
    "request_output_len": np.array([[2]] * 2, np.int32),
    "return_log_probs": np.array([[True]] * 2),
}


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        (_TWO_PROMPTS, "INTERNAL", BATCH_REFUSED),
        ({"streaming": _scalar(1, bool)}, "INTERNAL", STREAMING_REFUSED),
        ({"input_ids": None}, "INTERNAL", "inputTokens or encoderInputFeatures tensor not provided"),
        ({"request_output_len": _scalar(0)}, "INTERNAL", "request_output_len must be at least 1"),
        ({"stop_words_list": np.array([[[1, 2], [2, 1]]], np.int32)}, "INTERNAL", "non-increasing offsets"),
        ({"stop_words_list": np.array([[[1, 2], [2, -1]]], np.int32)}, "UNIMPLEMENTED", "single tokens"),
        ({"beam_width": _scalar(4)}, "UNIMPLEMENTED", "beam_width"),
        ({"temperature": _scalar(0.5, np.float32)}, "UNIMPLEMENTED", "temperature"),
        ({"bad_words_list": np.array([[[1], [1]]], np.int32)}, "UNIMPLEMENTED", "bad_words_list"),
        ({"return_context_logits": _scalar(1, bool)}, "UNIMPLEMENTED", "return_context_logits"),
        ({"request_output_len": None}, "INTERNAL", "request_output_len is not present in the request"),
        ({"input_ids": np.array([_PROMPT.ids], np.float32)}, "INVALID_ARGUMENT", "input_ids"),
        ({"no_such_input": _scalar(1)}, "INVALID_ARGUMENT", "no_such_input"),
        ({"input_ids": np.array([[1, 100_000]], np.int32)}, "INTERNAL", "token ids go from 0"),
        ({"input_ids": np.array([[-1]], np.int32)}, "INTERNAL", "token ids go from 0"),
    ],
)
async def test_triton_refuses_with_the_reason(
    triton: RunningTriton, changes: dict[str, NDArray[Any] | None], status: str, message: str
) -> None:
    """A request that cannot be served gets the status and words of TensorRT-LLM's backend, or our reason."""
    with pytest.raises(InferenceServerException) as raised:
        await _infer(triton, **changes)
    assert raised.value.status() == f"StatusCode.{status}"
    assert message in raised.value.message()


@pytest.mark.parametrize("missing", ["output_ids", "sequence_length"])
async def test_triton_insists_on_the_outputs_that_tensorrt_llm_insists_on(
    triton: RunningTriton, missing: str
) -> None:
    """A list of outputs without ids or length is an error."""
    (kept,) = {"output_ids", "sequence_length"} - {missing}
    with pytest.raises(InferenceServerException, match=f"{missing} tensor must be present"):
        await _infer(triton, kept)


async def test_triton_serves_on_beside_refused_requests(generator: TritonGenerator, decoder: Decoder) -> None:
    """A bad prompt among good ones fails alone."""
    bad = Prompt((1_000_000,), 1, _NO_END)
    *answers, refused = await asyncio.gather(
        *(generator.generate(_PROMPT) for _ in range(20)), generator.generate(bad), return_exceptions=True
    )
    assert isinstance(refused, InferenceRejected)
    expected = decoder.submit(_PROMPT).result()
    assert all(answer.ids == expected.ids for answer in answers)


async def test_triton_survives_a_prompt_larger_than_its_shared_memory(generator: TritonGenerator) -> None:
    """A prompt of 24 MB is refused for its length, and the next one is served."""
    huge = Prompt((1,) * 6_000_000, 1, _NO_END)
    with pytest.raises(InferenceRejected, match="do not fit"):
        await generator.generate(huge)
    assert await generator.generate(_PROMPT)


async def test_triton_passes_cancellation_on_to_the_engine(
    triton: RunningTriton, generator: TritonGenerator
) -> None:
    """Cancelling the call stops the work: the engine, seconds of tokens before it, soon stands still."""
    stub = next(each for each in psutil.Process(triton.pid).children() if "stub" in each.name())
    call = asyncio.create_task(generator.generate(Prompt(_PROMPT.ids, 60_000, _NO_END)))
    async with asyncio.timeout(20):
        while await _cpu_seconds(stub, during=0.4) < 0.1:
            assert not call.done(), "the engine was done before it was seen at work"
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(10):
        while await _cpu_seconds(stub, during=0.4) > 0.05:
            pass


async def _cpu_seconds(process: psutil.Process, *, during: float) -> float:
    before = process.cpu_times()
    await asyncio.sleep(during)
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system
