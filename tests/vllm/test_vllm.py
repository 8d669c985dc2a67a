"""The ``tensorrt_llm`` contract, kept by vLLM on a CPU in a real Triton; `make test-vllm` runs it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tritonclient.utils import InferenceServerException

from stream.bundled import model_folder
from stream.errors import InferenceError, InferenceRejected
from stream.fingerprint import checkpoint_sha256
from stream.generation import Completion, Prompt
from stream.inference.contract import BATCH_REFUSED, NO_END, STREAMING_REFUSED
from stream.inference.triton import TritonGenerator
from stream.ner.template import PromptTemplate
from tests.integration.nvidia_client import infer
from tests.vllm.answers import TOLERANCE, assert_same, streamed
from tests.vllm.served_vllm import RunningVllm, serving

pytestmark = pytest.mark.vllm

_BLOCK = 32  # tokens, the smallest of vLLM on a CPU


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVllm]:
    """The server that most tests share."""
    with serving(tmp_path_factory.mktemp("vllm")) as server:
        yield server


@pytest.fixture
async def generator(vllm: RunningVllm) -> AsyncIterator[TritonGenerator]:
    """The service's client."""
    generator = TritonGenerator(vllm.url)
    yield generator
    await generator.close()


async def _answers(url: str, prompts: list[Prompt]) -> list[Completion]:
    generator = TritonGenerator(url, call_deadline=120.0)
    try:
        return await asyncio.gather(*map(generator.generate, prompts))
    finally:
        await generator.close()


async def test_vllm_answers_as_our_engine(vllm: RunningVllm, asked: list[tuple[Prompt, Completion]]) -> None:
    """300 prompts get our engine's own tokens, with log-probabilities within a thousandth."""
    answers = await _answers(vllm.url, [prompt for prompt, _ in asked])
    assert_same(answers, asked)


async def test_vllm_reads_a_text_once(vllm: RunningVllm, asked: list[tuple[Prompt, Completion]]) -> None:
    """Prompts of a document take 70% or more of their tokens from the cache, from the first time on."""
    prompts = [prompt for prompt, _ in asked]
    # Texts that the server has not seen: another token in front.
    fresh = [Prompt((7, *prompt.ids), 1, prompt.end_id) for prompt in prompts]
    answers = await asyncio.gather(*(_infer(vllm, prompt) for prompt in fresh))
    reused = _BLOCK * sum(int(answer["kv_cache_reused_blocks"].item()) for answer in answers)
    total = sum(len(prompt.ids) for prompt in fresh)
    print(f"\n{reused} of {total} prompt tokens came from the cache: {reused / total:.0%}")
    assert reused / total >= 0.7


async def _infer(vllm: RunningVllm, prompt: Prompt, **changes: Any) -> dict[str, Any]:
    """What NVIDIA's client gets; changes replace inputs, or remove them (None)."""
    wanted = ("output_ids", "sequence_length", "output_log_probs", "cum_log_probs", "kv_cache_reused_blocks")
    ours = {"end_id": np.array([[prompt.end_id]], np.int32), "return_perf_metrics": np.array([[True]])}
    return await infer(vllm.url, prompt, *wanted, **(ours | changes))


async def test_vllm_shapes_are_those_of_tensorrt_llm(
    vllm: RunningVllm, asked: list[tuple[Prompt, Completion]]
) -> None:
    """One prompt, one beam: [1, 1, n] for sequences, [1, 1] for their scalars; sums are sums."""
    prompt, ours = max(asked, key=lambda pair: len(pair[1].ids))
    answer = await _infer(vllm, prompt)
    assert answer["output_ids"].tolist() == [[list(ours.ids)]]
    assert answer["sequence_length"].tolist() == [[len(ours.ids)]]
    assert answer["output_log_probs"] == pytest.approx(np.array([[ours.log_probs]]), abs=TOLERANCE)
    assert answer["cum_log_probs"] == pytest.approx(np.array([[sum(ours.log_probs)]]), abs=TOLERANCE)
    whole = await _infer(vllm, prompt, exclude_input_in_output=np.array([[False]]))
    assert whole["output_ids"].tolist() == [[list(prompt.ids + ours.ids)]]


async def test_vllm_ends_before_the_end_id_and_after_a_stop_word(
    generator: TritonGenerator, asked: list[tuple[Prompt, Completion]]
) -> None:
    """The end id asked for is no part of the answer, the model's own is, and a stop word is the last."""
    prompt, ours = next(pair for pair in asked if len(set(pair[1].ids)) > 2)
    first, second, *_ = ours.ids
    ended = await generator.generate(Prompt(prompt.ids, 6, second))
    stopped = await generator.generate(Prompt(prompt.ids, 6, NO_END, (second,)))
    nothing = await generator.generate(Prompt(prompt.ids, 6, first))
    beyond = await generator.generate(Prompt(prompt.ids, len(ours.ids) + 3, NO_END))
    assert (ended.ids, len(ended.log_probs)) == ((first,), 1)
    assert (stopped.ids, len(stopped.log_probs)) == ((first, second), 2)
    assert nothing.ids == ()
    assert beyond.ids[: len(ours.ids) + 1] == (*ours.ids, prompt.end_id)
    assert len(beyond.ids) == len(ours.ids) + 3


_SHORT = Prompt((5, 6, 7), 2, 1)
_TWO_PROMPTS = {
    "input_ids": np.array([_SHORT.ids] * 2, np.int32),
    "input_lengths": np.array([[3]] * 2, np.int32),
    "request_output_len": np.array([[2]] * 2, np.int32),
    "end_id": np.array([[1]] * 2, np.int32),
    "return_log_probs": np.array([[True]] * 2),
    "return_perf_metrics": np.array([[True]] * 2),
}


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        (_TWO_PROMPTS, "INTERNAL", BATCH_REFUSED),
        ({"streaming": np.array([[True]])}, "INTERNAL", STREAMING_REFUSED),
        ({"input_ids": None}, "INTERNAL", "inputTokens or encoderInputFeatures tensor not provided"),
        ({"stop_words_list": np.array([[[1, 2], [2, -1]]], np.int32)}, "UNIMPLEMENTED", "single tokens"),
        ({"temperature": np.array([[0.5]], np.float32)}, "UNIMPLEMENTED", "temperature"),
        ({"input_ids": np.array([[1, 100_000]], np.int32)}, "INTERNAL", "token ids go from 0"),
        ({"input_ids": np.array([[-1]], np.int32)}, "INTERNAL", "token ids go from 0"),
        ({"input_ids": np.array([[5] * 2048], np.int32)}, "INTERNAL", "do not fit"),
    ],
)
async def test_vllm_refuses_with_the_reason(
    vllm: RunningVllm, changes: dict[str, Any], status: str, message: str
) -> None:
    """A request that cannot be served gets the status and words of the contract, and breaks nothing."""
    with pytest.raises(InferenceServerException) as raised:
        await _infer(vllm, _SHORT, **changes)
    assert raised.value.status() == f"StatusCode.{status}"
    assert message in raised.value.message()


async def test_vllm_serves_on_beside_refused_requests(
    generator: TritonGenerator, asked: list[tuple[Prompt, Completion]]
) -> None:
    """A bad prompt among good ones fails alone."""
    prompt, ours = asked[0]
    *answers, refused = await asyncio.gather(
        *(generator.generate(prompt) for _ in range(20)),
        generator.generate(Prompt((1_000_000,), 1, NO_END)),
        return_exceptions=True,
    )
    assert isinstance(refused, InferenceRejected)
    assert all(answer.ids == ours.ids for answer in answers)


async def test_vllm_passes_cancellation_on_to_the_engine(
    vllm: RunningVllm, generator: TritonGenerator
) -> None:
    """Cancelling the calls stops the work: workers, seconds of tokens before them, soon stand still."""
    calls = [asyncio.create_task(generator.generate(Prompt((5, n), 2000, NO_END))) for n in range(32)]
    await asyncio.sleep(2.0)
    assert await _cpu_seconds(vllm, during=1.0) > 0.1, "the engine should be at work"
    for call in calls:
        call.cancel()
    assert all(
        isinstance(end, asyncio.CancelledError)
        for end in await asyncio.gather(*calls, return_exceptions=True)
    )
    await asyncio.sleep(3.0)
    assert await _cpu_seconds(vllm, during=1.0) < 0.1


async def _cpu_seconds(vllm: RunningVllm, *, during: float) -> float:
    """Processor time of the processes that compute, within some seconds."""

    def spent() -> float:
        times = [
            each.cpu_times()
            for each in psutil.Process(vllm.pid).children(recursive=True)
            if "Worker" in each.name()
        ]
        return sum(each.user + each.system for each in times)

    before = spent()
    await asyncio.sleep(during)
    return spent() - before


async def test_vllm_serves_the_stream(vllm: RunningVllm, kafka: Any, tmp_path: Path) -> None:
    """240 documents through Kafka and the worker get our engine's entities, and name the checkpoint."""
    events = await streamed(kafka.bootstrap, tmp_path, triton_url=vllm.url)
    checkpoints = {event["model"]["checkpoint"] for event in events}
    assert checkpoints == {checkpoint_sha256(model_folder(None))}


async def test_vllm_speculates_without_another_token_and_returns_after_its_engine_died(
    tmp_path: Path, asked: list[tuple[Prompt, Completion]]
) -> None:
    """Speculation changes no token; a killed engine ends the server, and a new start serves again."""
    prompts = [prompt for prompt, _ in asked]
    with serving(tmp_path, PADELLM_GPU_DRAFT_TOKENS="5") as server:
        began = time.monotonic()
        answers = await _answers(server.url, prompts)
        print(f"\nspeculating, {time.monotonic() - began:.0f} s:")
        assert_same(answers, asked)
        process = psutil.Process(server.pid)
        server.engine().kill()
        died = time.monotonic()
        await asyncio.to_thread(process.wait, 30)
        print(f"the server ended {time.monotonic() - died:.1f} s after its engine")
        with pytest.raises(InferenceError):
            await _answers(server.url, prompts[:1])
        server.kill()
        await asyncio.to_thread(server.start)
        (again,) = await _answers(server.url, prompts[:1])
        assert again.ids == asked[0][1].ids


async def test_vllm_constrains_mentions_to_the_text(
    tmp_path: Path, template: PromptTemplate, asked: list[tuple[Prompt, Completion]]
) -> None:
    """Constrained, every mention stands in its text; those that stood there stay, and counts do too."""
    with serving(tmp_path, PADELLM_CONSTRAINED="true") as server:
        answers = await _answers(server.url, [prompt for prompt, _ in asked])
    grounded = mended = 0
    for answer, (prompt, ours) in zip(answers, asked, strict=True):
        text = template.show(prompt.ids)
        mention, free = template.decode_mention(answer.ids), template.decode_mention(ours.ids)
        if template.parse_count(ours.ids) is not None:
            assert answer.ids == ours.ids
        elif free in text:
            grounded += 1
            assert mention == free
        else:
            mended += 1
            assert mention in text
    print(f"\n{grounded} mentions stood in their texts and stayed, {mended} were mended")
    assert grounded
