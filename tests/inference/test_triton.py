"""The Triton client's promises that need no server; tests/integration/test_triton_*.py has the others."""

import asyncio
import re
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferInput, InferRequestedOutput, model_config_pb2
from tritonclient.grpc._utils import _get_inference_request

from stream.errors import InferenceBreach, InferenceOutage, InferenceUnclear
from stream.generation import Completion, ModelStamp, Origin, Prompt, origin
from stream.inference.contract import decode_word_list, encode_word_list
from stream.inference.triton import TritonGenerator, _request
from stream.local.ports import free_ports
from tests.inference.scripted_triton import Refusal, scripted_triton

_MODELS = Path(__file__).parents[2] / "triton_models"
_IDS = st.integers(0, 2**31 - 1)
_PROMPTS = st.builds(
    Prompt,
    ids=st.lists(_IDS, min_size=1, max_size=50).map(tuple),
    max_new_tokens=st.integers(1, 512),
    end_id=_IDS,
    stop_ids=st.lists(_IDS, max_size=3).map(tuple),
)

_ENGINES = ("cpu", "vllm", "llmapi", "trtllm")


def _config(engine: str) -> model_config_pb2.ModelConfig:
    text = (_MODELS / engine / "tensorrt_llm" / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_triton_configurations_differ_in_the_engine_alone() -> None:
    """All engines have one contract: their files differ in backend, instance group and parameters only."""
    configs = {engine: _config(engine) for engine in _ENGINES}
    backends = {engine: config.backend for engine, config in configs.items()}
    assert backends == dict.fromkeys(_ENGINES, "python") | {"trtllm": "tensorrtllm"}
    for config in configs.values():
        for field in ("backend", "instance_group", "parameters"):
            config.ClearField(field)
        assert config == configs["cpu"]


def test_triton_configurations_leave_only_the_engine_open() -> None:
    """Every variable of NVIDIA's template is decided; the deployment names the engine and its checkpoint."""
    texts = {engine: (_MODELS / engine / "tensorrt_llm" / "config.pbtxt").read_text() for engine in _ENGINES}
    engines = texts.pop("trtllm")
    assert "${" not in "".join(texts.values())
    assert set(re.findall(r"\$\{(\w+)\}", engines)) == {"engine_dir", "checkpoint_sha256"}


def test_triton_configuration_declares_every_tensor_the_client_sends() -> None:
    """What the client sends and asks for is in the contract, under the same type and a shape it allows."""
    config = _config("cpu")
    inputs = {each.name: each for each in config.input}
    request = _request(Prompt((1, 2, 3), 4, 5, (6, 7)), "id")
    for tensor in request.inputs:
        declared = inputs[tensor.name]
        assert model_config_pb2.DataType.Name(declared.data_type) == f"TYPE_{tensor.datatype}"
        assert tensor.shape[0] == 1
        assert all(want in (-1, got) for want, got in zip(declared.dims, tensor.shape[1:], strict=True))
    assert {each.name for each in request.outputs} <= {each.name for each in config.output}
    required = {each.name for each in config.input if not each.optional}
    assert required <= {each.name for each in request.inputs}


@given(prompt=_PROMPTS)
def test_triton_request_is_what_tritonclient_would_build(prompt: Prompt) -> None:
    """A request from a template equals the one that tritonclient's own classes make from numpy arrays."""
    words, ends = encode_word_list(prompt.stop_ids)
    arrays = {
        "request_output_len": np.array([[prompt.max_new_tokens]], np.int32),
        "end_id": np.array([[prompt.end_id]], np.int32),
        "stop_words_list": np.array([[words, ends]], np.int32),
        "runtime_top_k": np.array([[1]], np.int32),
        "return_log_probs": np.array([[True]]),
        "exclude_input_in_output": np.array([[True]]),
        "input_lengths": np.array([[len(prompt.ids)]], np.int32),
        "input_ids": np.array([prompt.ids], np.int32),
    }
    inputs = []
    for name, tensor in arrays.items():
        each = InferInput(name, list(tensor.shape), "BOOL" if tensor.dtype == bool else "INT32")
        each.set_data_from_numpy(tensor)
        inputs.append(each)
    outputs = [InferRequestedOutput(name) for name in ("output_ids", "sequence_length", "output_log_probs")]
    slow = _get_inference_request(
        "tensorrt_llm", inputs, "", "id", outputs, 0, False, False, 0, timeout=None, parameters=None
    )
    assert _request(prompt, "id") == slow


@given(first=_PROMPTS, second=_PROMPTS)
def test_triton_requests_all_carry_the_same_inputs(first: Prompt, second: Prompt) -> None:
    """Whatever the prompt, the inputs have the same names and types: Triton batches only such requests."""
    one, other = (
        [(each.name, each.datatype) for each in _request(prompt, "id").inputs] for prompt in (first, second)
    )
    assert one == other


@given(words=st.lists(_IDS, max_size=5))
def test_contract_word_list_survives_the_wire(words: list[int]) -> None:
    """Stop words that one end writes are those the other reads, none included."""
    assert decode_word_list(*encode_word_list(words)) == [(word,) for word in words]


@pytest.mark.parametrize(
    ("flat", "ends"), [([1, 2], [2, 1]), ([1, 2], [3, -1]), ([1, 2], [-1, 1]), ([1, 2], [1, 1]), ([1], [0])]
)
def test_contract_word_list_refuses_what_tensorrt_llm_refuses(flat: list[int], ends: list[int]) -> None:
    """Ends that do not increase, point outside, or follow padding are an error."""
    with pytest.raises(ValueError, match="Sparse list"):
        decode_word_list(flat, ends)


async def test_triton_errors_name_server_words_and_request() -> None:
    """An error names the server, repeats its words, and has the request id that the server logs."""

    async def refuse(_prompt: Prompt) -> Completion:
        raise Refusal(grpc.StatusCode.INTERNAL, "cannot be")

    async with scripted_triton(refuse) as triton:
        generator = TritonGenerator(triton.url)
        with pytest.raises(InferenceUnclear) as raised:
            await generator.generate(Prompt((1, 2), 4, 5))
        await generator.close()
        assert str(raised.value) == (
            f"Triton at {triton.url} answered INTERNAL: cannot be (request {triton.request_ids[0]})"
        )


async def test_triton_breach_names_model_and_tensor() -> None:
    """An answer that breaks the contract names the model, the tensor and the request."""

    async def answer_short(_prompt: Prompt) -> Completion:
        return Completion((7, 8), (-0.5,))

    async with scripted_triton(answer_short) as triton:
        generator = TritonGenerator(triton.url)
        with pytest.raises(
            InferenceBreach, match=r"tensorrt_llm: output_log_probs has 1 .*\(request padellm/"
        ):
            await generator.generate(Prompt((1, 2), 4, 5))
        await generator.close()


async def test_triton_request_ids_say_what_they_are_asked_for() -> None:
    """An id holds the origin of its prompt, is another for each prompt, and begins with no digit."""

    async def answer(_prompt: Prompt) -> Completion:
        return Completion((7,), (-0.5,))

    async def ask(place: str) -> None:
        origin.set(Origin(place))
        await asyncio.gather(*(generator.generate(Prompt((1,), 4, 5)) for _ in range(3)))

    async with scripted_triton(answer) as triton:
        generator = TritonGenerator(triton.url)
        await asyncio.gather(ask("2024-docs/0/17"), ask("2024-docs/0/18"))
        await generator.close()
        ids = triton.request_ids
    assert len(set(ids)) == 6
    assert sorted(each.rpartition("/")[0] for each in ids) == (
        ["padellm/2024-docs/0/17"] * 3 + ["padellm/2024-docs/0/18"] * 3
    )


async def test_triton_sick_server_opens_the_breaker() -> None:
    """A server whose every answer is a failed executor is an outage within seconds, ready or not."""

    async def fail(_prompt: Prompt) -> Completion:
        raise Refusal(
            grpc.StatusCode.INTERNAL,
            "Executor failed process requestId 3 due to the following error: Encountered an error in "
            "forwardAsync function: CUDA runtime error in cudaMemcpyAsync",
        )

    async with scripted_triton(fail) as triton:
        generator = TritonGenerator(triton.url, breaker_pause=0.2)
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(
                *(generator.generate(Prompt((1,), 1, 2)) for _ in range(20)), return_exceptions=True
            )
        assert {type(outcome) for outcome in outcomes} == {InferenceOutage}
        await generator.close()


async def test_triton_is_ready_when_it_answers_a_prompt() -> None:
    """A server that says it is ready and fails each prompt is not ready; once it has recovered it is."""
    sick = True

    async def answer(_prompt: Prompt) -> Completion:
        if sick:
            raise Refusal(grpc.StatusCode.INTERNAL, "unspecified launch failure")
        return Completion((7,), (-0.5,))

    async with scripted_triton(answer) as triton:
        generator = TritonGenerator(triton.url)
        assert not await generator.ready()
        sick = False
        assert await generator.ready()
        asked = len(triton.request_ids)
        assert await generator.ready()
        assert len(triton.request_ids) == asked
        triton.is_ready = False
        assert not await generator.ready()
        await generator.close()


async def test_triton_down_is_an_outage_within_seconds() -> None:
    """Where nothing listens, many calls at once all end in an outage after the breaker's first probe."""
    (port,) = free_ports(1)
    generator = TritonGenerator(f"127.0.0.1:{port}", breaker_pause=0.2)
    calls = (generator.generate(Prompt((1,), 1, 2)) for _ in range(50))
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert not await generator.ready()
    assert {type(outcome) for outcome in outcomes} == {InferenceOutage}
    await generator.close()


async def test_triton_completions_name_the_model_of_their_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion bears what the server states of its model, also after another one took its place."""
    monkeypatch.setattr("stream.inference.triton._STAMP_AGE", 0.05)

    async def answer(_prompt: Prompt) -> Completion:
        return Completion((7,), (-0.5,))

    async with scripted_triton(answer) as triton:
        generator = TritonGenerator(triton.url)
        assert (await generator.generate(Prompt((1,), 4, 5))).model is None
        await triton.die()
        triton.parameters = {
            "checkpoint_sha256": "ab",
            "checkpoint_name": "small",
            "checkpoint_version": "3",
        }
        await asyncio.sleep(0.1)
        await triton.start()
        assert (await generator.generate(Prompt((1,), 4, 5))).model == ModelStamp("ab", "small", "3")
        await generator.close()
