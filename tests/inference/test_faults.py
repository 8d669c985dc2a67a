"""Triton's status and words as our errors."""

import grpc
import pytest

from stream.errors import (
    InferenceBusy,
    InferenceError,
    InferenceLost,
    InferenceRejected,
    InferenceSick,
    InferenceUnavailable,
    InferenceUnclear,
)
from stream.inference.faults import kind_of_fault

_EXECUTOR = "Executor failed process requestId 7 due to the following error: "


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_fault_of_every_status_is_known(code: grpc.StatusCode) -> None:
    """Each status that gRPC knows becomes one of our errors."""
    assert issubclass(kind_of_fault(code, "why"), InferenceError)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (grpc.StatusCode.UNAVAILABLE, "[request id: <id_unknown>] Exceeds maximum queue size"),
        (grpc.StatusCode.UNAVAILABLE, "Request timeout expired"),
        (
            grpc.StatusCode.INTERNAL,
            "Executor failed: Maximum queue size of 4096 has been reached, please try again later",
        ),
    ],
)
def test_fault_full_queue_is_overload(code: grpc.StatusCode, words: str) -> None:
    """Both full queues, Triton's and the engine's, and a wait in them are known by their words."""
    assert kind_of_fault(code, words) is InferenceBusy


@pytest.mark.parametrize(
    "words",
    [
        _EXECUTOR + "Encountered an error in forwardAsync function: std::exception",
        _EXECUTOR
        + "[TensorRT-LLM][ERROR] CUDA runtime error in cudaMemcpyAsync(dst, src): unspecified launch",
        "CUDA error: an illegal memory access was encountered",
        "cublasLt failed with status 14",
        "NCCL error: unhandled system error",
        "Failed: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "a forward pass failed: Failed to allocate memory for requested buffer of size 734003200",
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "vllm.v1.engine.exceptions.EngineDeadError",
        "the engine is closed",
        "Stub process 'tensorrt_llm_0_0' is not healthy.",
    ],
)
@pytest.mark.parametrize(
    "code",
    [grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED],
)
def test_fault_of_a_sick_server_is_an_outage(code: grpc.StatusCode, words: str) -> None:
    """Words of a broken executor, GPU or process make an outage of a status that does not say so."""
    assert kind_of_fault(code, f"[request id: padellm/d/0/1/ab-1] {words}") is InferenceSick


@pytest.mark.parametrize(
    "words",
    [
        _EXECUTOR + "Encountered an error when fetching new request: Prompt length (9000) exceeds maximum",
        "Sparse list must not have non-increasing offsets",
        "Streaming is only supported if model is deployed using decoupled mode.",
    ],
)
def test_fault_of_the_request_is_a_refusal(words: str) -> None:
    """Words with which TensorRT-LLM refuses one request blame the request, also in the executor's name."""
    assert kind_of_fault(grpc.StatusCode.INTERNAL, words) is InferenceRejected


def test_fault_with_unknown_words_is_unclear() -> None:
    """INTERNAL with other words says nothing about whose fault it is."""
    assert kind_of_fault(grpc.StatusCode.INTERNAL, "Something cudgelled the enginery") is InferenceUnclear


def test_fault_message_beyond_the_servers_limit_is_no_overload() -> None:
    """RESOURCE_EXHAUSTED of a message that is too large never passes, and is not waited out."""
    words = "SERVER: Received message larger than max (5000000 vs. 4194304)"
    assert kind_of_fault(grpc.StatusCode.RESOURCE_EXHAUSTED, words) is InferenceRejected


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Socket closed", InferenceLost),
        ("recvmsg:Connection reset by peer", InferenceLost),
        ("Stream removed (ping timeout)", InferenceLost),
        ("failed to connect to all addresses; last error: UNKNOWN: Connection refused", InferenceUnavailable),
        ("DNS resolution failed for triton:8001", InferenceUnavailable),
        ("Request for unknown model: 'tensorrt_llm' has no available versions", InferenceUnavailable),
    ],
)
def test_fault_of_a_connection_says_whether_the_prompt_was_there(
    words: str, kind: type[InferenceError]
) -> None:
    """A server that goes away with a prompt is told from one that never had it."""
    assert kind_of_fault(grpc.StatusCode.UNAVAILABLE, words) is kind
