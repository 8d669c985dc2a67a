"""The Triton client's promises that need no server; tests/integration/test_triton_*.py has the others."""

import asyncio
import re
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferInput, InferRequestedOutput, model_config_pb2, service_pb2
from tritonclient.grpc._utils import _get_inference_request

from stream.errors import (
    InferenceBusy,
    InferenceError,
    InferenceOutage,
    InferenceRejected,
    InferenceUnavailable,
)
from stream.generation import Prompt
from stream.inference.triton import TritonGenerator, _request, decode_word_list, encode_word_list
from stream.local.ports import free_ports

_MODELS = Path(__file__).parents[2] / "triton_models"
_IDS = st.integers(0, 2**31 - 1)
_PROMPTS = st.builds(
    Prompt,
    ids=st.lists(_IDS, min_size=1, max_size=50).map(tuple),
    max_new_tokens=st.integers(1, 512),
    end_id=_IDS,
    stop_ids=st.lists(_IDS, max_size=3).map(tuple),
)


def _config(engine: str) -> model_config_pb2.ModelConfig:
    text = (_MODELS / engine / "tensorrt_llm" / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _error(code: grpc.StatusCode, details: str = "why") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


async def _translated(code: grpc.StatusCode, details: str = "why") -> InferenceError:
    generator = TritonGenerator("127.0.0.1:1")
    try:
        return generator._translated(_error(code, details))
    finally:
        await generator.close()


def test_triton_configurations_differ_in_the_engine_alone() -> None:
    """Both engines have one contract: their files differ in backend, instance group and parameters only."""
    cpu, trtllm = _config("cpu"), _config("trtllm")
    assert (cpu.backend, trtllm.backend) == ("python", "tensorrtllm")
    for config in (cpu, trtllm):
        for field in ("backend", "instance_group", "parameters"):
            config.ClearField(field)
    assert cpu == trtllm


def test_triton_configurations_leave_only_the_engine_folder_open() -> None:
    """Every variable of NVIDIA's template is decided; the engine's folder is the deployment's to name."""
    texts = {
        engine: (_MODELS / engine / "tensorrt_llm" / "config.pbtxt").read_text()
        for engine in ("cpu", "trtllm")
    }
    assert "${" not in texts["cpu"]
    assert set(re.findall(r"\$\{(\w+)\}", texts["trtllm"])) == {"engine_dir"}


def test_triton_configuration_declares_every_tensor_the_client_sends() -> None:
    """What the client sends and asks for is in the contract, under the same type and a shape it allows."""
    config = _config("cpu")
    inputs = {each.name: each for each in config.input}
    request = _request(Prompt((1, 2, 3), 4, 5, (6, 7)))
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
        "tensorrt_llm", inputs, "", "", outputs, 0, False, False, 0, timeout=None, parameters=None
    )
    assert _request(prompt) == slow


@given(first=_PROMPTS, second=_PROMPTS)
def test_triton_requests_all_carry_the_same_inputs(first: Prompt, second: Prompt) -> None:
    """Whatever the prompt, the inputs have the same names and types: Triton batches only such requests."""
    one, other = (
        [(each.name, each.datatype) for each in _request(prompt).inputs] for prompt in (first, second)
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


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_triton_translates_every_status(code: grpc.StatusCode) -> None:
    """Each status that gRPC knows becomes one of our errors, which names the server and repeats its words."""
    error = await _translated(code)
    assert isinstance(error, InferenceError)
    assert "127.0.0.1:1" in str(error)
    assert "why" in str(error)


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.UNAVAILABLE, "[request id: <id_unknown>] Exceeds maximum queue size"),
        (
            grpc.StatusCode.INTERNAL,
            "Executor failed: Maximum queue size of 4096 has been reached, please try again later",
        ),
    ],
)
async def test_triton_knows_a_full_queue(code: grpc.StatusCode, details: str) -> None:
    """Both full queues, Triton's and the engine's, are known by their words."""
    assert type(await _translated(code, details)) is InferenceBusy


async def test_triton_knows_a_dead_backend() -> None:
    """A python backend whose process died is an outage and no fault of the request."""
    details = "Stub process 'tensorrt_llm_0_0' is not healthy."
    assert type(await _translated(grpc.StatusCode.INTERNAL, details)) is InferenceUnavailable


@pytest.mark.parametrize("contents", [[b"\1\0\0\0"], [b"\1\0\0"], []])
async def test_triton_refuses_an_answer_that_breaks_the_contract(contents: list[bytes]) -> None:
    """An answer that lacks tensors, or their contents, names the model and the tensors that it has."""
    generator = TritonGenerator("127.0.0.1:1")
    response = service_pb2.ModelInferResponse(
        outputs=[service_pb2.ModelInferResponse.InferOutputTensor(name="output_ids")],
        raw_output_contents=contents,
    )
    with pytest.raises(InferenceRejected, match=r"contract.*tensorrt_llm.*output_ids"):
        generator._completion(response)
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
