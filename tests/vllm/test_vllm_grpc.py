"""vLLM's own gRPC server on a CPU, asked without Triton; `make test-vllm` runs it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.doctor.finding import Grade
from stream.errors import InferenceError, InferenceUnavailable
from stream.generation import Completion, Prompt
from stream.inference.contract import NO_END
from stream.settings import Inference, Settings
from tests.vllm.answers import assert_same, streamed

pytest.importorskip("smg_grpc_proto", reason="needs the extra vllm")
from stream.doctor.vllm import check_vllm
from stream.inference.vllm import VllmGenerator
from tests.vllm.served_vllm_grpc import RunningVllmGrpc, serving_grpc

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVllmGrpc]:
    """The server that the tests share."""
    with serving_grpc(tmp_path_factory.mktemp("vllm-grpc")) as server:
        yield server


@pytest.fixture
async def generator(vllm: RunningVllmGrpc) -> AsyncIterator[VllmGenerator]:
    """The service's client."""
    generator = VllmGenerator(vllm.url, call_deadline=120.0)
    yield generator
    await generator.close()


async def test_vllm_grpc_answers_as_our_engine(
    generator: VllmGenerator, asked: list[tuple[Prompt, Completion]]
) -> None:
    """300 prompts get our engine's own tokens, with log-probabilities within a thousandth."""
    assert_same(await asyncio.gather(*(generator.generate(prompt) for prompt, _ in asked)), asked)


async def test_vllm_grpc_ends_before_the_end_id_and_after_a_stop_id(
    generator: VllmGenerator, asked: list[tuple[Prompt, Completion]]
) -> None:
    """The end id asked for is no part of the answer, the model's own is, and a stop id is the last."""
    prompt, ours = next(pair for pair in asked if len(set(pair[1].ids)) > 2)
    first, second, *_ = ours.ids
    ended = await generator.generate(Prompt(prompt.ids, 6, second))
    stopped = await generator.generate(Prompt(prompt.ids, 6, NO_END, (second,)))
    beyond = await generator.generate(Prompt(prompt.ids, len(ours.ids) + 3, NO_END))
    assert (ended.ids, len(ended.log_probs)) == ((first,), 1)
    assert (stopped.ids, len(stopped.log_probs)) == ((first, second), 2)
    assert beyond.ids[: len(ours.ids) + 1] == (*ours.ids, prompt.end_id)
    assert len(beyond.ids) == len(ours.ids) + 3


async def test_vllm_grpc_serves_on_beside_refused_requests(
    generator: VllmGenerator, asked: list[tuple[Prompt, Completion]]
) -> None:
    """A prompt that is too long fails alone, and not as an outage."""
    prompt, ours = asked[0]
    *answers, refused = await asyncio.gather(
        *(generator.generate(prompt) for _ in range(20)),
        generator.generate(Prompt((5,) * 4096, 1, NO_END)),
        return_exceptions=True,
    )
    assert isinstance(refused, InferenceError)
    assert not isinstance(refused, InferenceUnavailable)
    assert all(answer.ids == ours.ids for answer in answers)


async def test_vllm_grpc_serves_the_stream(vllm: RunningVllmGrpc, kafka: Any, tmp_path: Path) -> None:
    """240 documents through Kafka and the worker get our engine's entities."""
    events = await streamed(kafka.bootstrap, tmp_path, inference=Inference.VLLM, triton_url=vllm.url)
    assert {event["model"]["name"] for event in events} == {"padellm-small-en"}


async def test_doctor_finds_vllm_grpc_in_order(vllm: RunningVllmGrpc) -> None:
    """The doctor sees the checkpoint's answers, ends, lengths and reuse behind vLLM's protocol."""
    settings = Settings(inference=Inference.VLLM, triton_url=vllm.url)
    findings = [finding async for finding in check_vllm(settings)]
    print("\n" + "\n".join(f"{each.grade} {each.subject}: {each.found}" for each in findings))
    assert all(each.grade is not Grade.FAIL for each in findings)
    assert {"vllm answers", "vllm ends", "vllm length", "vllm reuse", "vllm reference"} <= {
        each.subject for each in findings
    }
