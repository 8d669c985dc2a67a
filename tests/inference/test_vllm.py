"""The client of vLLM's own server, against a real gRPC server that a script answers for."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from stream.errors import (
    ConfigurationError,
    InferenceBreach,
    InferenceRejected,
    InferenceSick,
    InferenceUnclear,
)
from stream.generation import Completion, Prompt
from stream.inference.servers import ModelServers, server_generator
from stream.settings import Inference, Settings
from tests.inference.scripted_triton import Refusal

protocol = pytest.importorskip("smg_grpc_proto", reason="needs the extra vllm")
pb2, services = protocol.vllm_engine_pb2, protocol.vllm_engine_pb2_grpc
from stream.inference.vllm import VllmGenerator, request_for  # noqa: E402 - needs the protocol

_END, _STOP = 2, 9
_PROMPT = Prompt((5, 6, 7), 4, _END, (_STOP,))


class ScriptedVllm(services.VllmEngineServicer):
    """Answers each request with the messages of its script.

    Attributes:
        script: Gives the messages, or raises ``Refusal``.
        requests: Those so far.
        healthy: The answer of the health call.
    """

    def __init__(self, script: Callable[[], list[Any]]) -> None:
        self.script = script
        self.requests: list[Any] = []
        self.healthy = True

    async def Generate(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:  # noqa: N802 - the protocol's name
        """Answer one prompt."""
        self.requests.append(request)
        try:
            messages = self.script()
        except Refusal as refusal:
            await context.abort(refusal.code, refusal.words)
        for message in messages:
            yield message

    async def HealthCheck(self, request: object, context: object) -> Any:  # noqa: N802 - the protocol's name
        """As ``healthy`` says."""
        return pb2.HealthCheckResponse(healthy=self.healthy)


@asynccontextmanager
async def _client(script: Callable[[], list[Any]]) -> AsyncIterator[tuple[VllmGenerator, ScriptedVllm]]:
    vllm = ScriptedVllm(script)
    server = grpc.aio.server()
    services.add_VllmEngineServicer_to_server(vllm, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    generator = VllmGenerator(f"127.0.0.1:{port}", call_deadline=0.2)
    try:
        yield generator, vllm
    finally:
        await generator.close()
        await server.stop(None)


def _whole(ids: tuple[int, ...], log_probs: tuple[float, ...], reason: str = "stop") -> Any:
    return pb2.GenerateResponse(
        complete=pb2.GenerateComplete(
            output_ids=ids,
            finish_reason=reason,
            output_logprobs=pb2.OutputLogProbs(token_logprobs=log_probs, token_ids=ids),
        )
    )


def test_vllm_request_asks_greedily_for_what_the_prompt_says() -> None:
    """Ids, length and ends are the prompt's; the answer is greedy and has log-probabilities."""
    request = request_for(_PROMPT, "padellm/direct/1")
    sampling = request.sampling_params
    assert request.request_id == "padellm/direct/1"
    assert tuple(request.tokenized.input_ids) == _PROMPT.ids
    assert (sampling.temperature, sampling.n, sampling.max_tokens) == (0.0, 1, 4)
    assert sampling.HasField("temperature")
    assert (list(sampling.stop_token_ids), sampling.ignore_eos) == ([_END, _STOP], True)
    assert sampling.HasField("logprobs")
    assert not request.stream


def test_vllm_request_without_an_end_names_none() -> None:
    """A prompt that ends at its length alone gives the server no negative id."""
    assert not request_for(Prompt((5,), 1, -1), "one").sampling_params.stop_token_ids


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_whole((4, _STOP), (-0.1, -0.25)), Completion((4, _STOP), (-0.1, -0.25))),
        (_whole((4, _END), (-0.1, -0.25)), Completion((4,), (-0.1,))),
        (_whole((_END,), (-0.5,)), Completion((), ())),
        (_whole((4, 4, 4, 4), (0.0,) * 4, "length"), Completion((4,) * 4, (0.0,) * 4)),
    ],
    ids=["after a stop id", "before the end id", "nothing", "at its length"],
)
async def test_vllm_answer_ends_as_tritons_does(answer: Any, expected: Completion) -> None:
    """The end id is no part of an answer, a stop id is its last, and a long one is cut at its length."""
    async with _client(lambda: [answer]) as (generator, _):
        got = await generator.generate(_PROMPT)
    assert got.ids == expected.ids
    assert got.log_probs == pytest.approx(expected.log_probs)
    assert got.model is None


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "0 messages"),
        ([_whole((4,), (-0.1,))] * 2, "2 messages"),
        ([pb2.GenerateResponse(chunk=pb2.GenerateStreamChunk(token_ids=[4]))], "whole answer"),
        ([_whole((4,), (-0.1,), "abort")], "abort"),
        ([_whole((4,) * 5, (-0.1,) * 5)], "5 tokens came, and 4 were asked for"),
        ([_whole((4, 4), (-0.1,))], "2 tokens came with 1 log-probabilities"),
        ([_whole((4,), (float("nan"),))], "no logarithm"),
        ([_whole((4,), (0.7,))], "no logarithm"),
    ],
    ids=["nothing", "two", "a chunk", "given up", "too long", "no log-probability", "nan", "above 1"],
)
async def test_vllm_answer_that_is_none_is_a_breach(messages: list[Any], words: str) -> None:
    """Whatever is not one whole answer to the prompt is refused, and the error names server and fault."""
    async with _client(lambda: messages) as (generator, _):
        with pytest.raises(InferenceBreach, match=rf"vLLM at 127\.0\.0\.1:\d+ breaks .*{words}"):
            await generator.generate(_PROMPT)


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (Refusal(grpc.StatusCode.INVALID_ARGUMENT, "too long"), InferenceUnclear),
        (Refusal(grpc.StatusCode.INTERNAL, "EngineCore encountered an issue"), InferenceSick),
        (Refusal(grpc.StatusCode.INTERNAL, "message larger than max"), InferenceRejected),
    ],
    ids=["invalid", "engine dead", "too large"],
)
async def test_vllm_refusal_is_told_from_an_outage(refusal: Refusal, error: type[Exception]) -> None:
    """A refusal blames the prompt or nobody; a dead engine is an outage."""

    def refuse() -> list[Any]:
        raise refusal

    async with _client(refuse) as (generator, _):
        with pytest.raises(error):
            await generator.attempt(_PROMPT)


async def test_vllm_that_is_ready_but_answers_nothing_is_not_ready() -> None:
    """Readiness is a prompt of one token, not what the server says of itself."""
    answers = [_whole((4,), (-0.1,))]
    async with _client(lambda: answers) as (generator, vllm):
        vllm.healthy = False
        assert not await generator.ready()
        vllm.healthy = True
        assert await generator.ready()
        assert vllm.requests[-1].sampling_params.max_tokens == 1
    async with _client(list) as (generator, _):
        assert not await generator.ready()


async def test_vllm_is_chosen_by_the_setting() -> None:
    """PADELLM_INFERENCE=vllm makes clients of vLLM, for one server and for several."""
    one = server_generator(Settings(inference=Inference.VLLM, triton_url="127.0.0.1:1"))
    several = server_generator(Settings(inference=Inference.VLLM, triton_url="127.0.0.1:1,127.0.0.1:2"))
    assert isinstance(one, VllmGenerator)
    assert isinstance(several, ModelServers)
    assert {type(server) for server in several._servers.values()} == {VllmGenerator}
    await one.close()
    await several.close()


def test_vllm_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the protocol's package is missing, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "smg_grpc_proto", None)
    monkeypatch.delitem(sys.modules, "stream.inference.vllm")
    with pytest.raises(ConfigurationError, match=r"padellm-stream\[vllm\]"):
        server_generator(Settings(inference=Inference.VLLM, triton_url="127.0.0.1:1"))
