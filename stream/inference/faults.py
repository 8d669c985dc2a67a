"""Faults of a Triton server as errors of ours: an outage, a refusal, or unclear.

The status decides where it says enough. TensorRT-LLM's backend, and every Python one, answer INTERNAL for a
bad request and for a broken GPU alike; there the words decide.
"""

import re

import grpc

from stream.errors import (
    InferenceBusy,
    InferenceError,
    InferenceLost,
    InferenceRejected,
    InferenceSick,
    InferenceTimeout,
    InferenceUnavailable,
    InferenceUnclear,
)
from stream.inference.contract import (
    BATCH_REFUSED,
    QUEUE_FULL_IN_ENGINE,
    QUEUE_FULL_IN_TRITON,
    QUEUED_TOO_LONG,
    STREAMING_REFUSED,
)

_BUSY = re.compile(f"{QUEUE_FULL_IN_TRITON}|{QUEUED_TOO_LONG}|{QUEUE_FULL_IN_ENGINE.format(limit='[0-9]+')}")
# TensorRT-LLM checks a request when its executor fetches it, and reports that as a failure of the executor.
_BAD_REQUEST_WORDS = (
    "Encountered an error when fetching new request",
    "Sparse list must not",
    re.escape(BATCH_REFUSED),
    re.escape(STREAMING_REFUSED),
    "message larger than max",
)
# A broken executor, GPU, runtime or process, which fails every request.
_SICK_WORDS = (
    "executor failed process",
    "forward(async|sync)",
    r"\bcuda",
    "cublas",
    "cudnn",
    r"\bnccl\b",
    r"\b(gpu|device) (is|was|has been) lost",
    "illegal memory access",
    "out of memory",
    "outofmemory",
    "failed to allocate memory",
    "bad_alloc",
    "engine ?core",
    "enginedead",
    r"\bengine\b.* (is|was|has) (dead|died|closed|stopped|shut down)",
    "stub process .* is not healthy",
)
_BAD_REQUEST = re.compile("|".join(_BAD_REQUEST_WORDS))
_SICK = re.compile("|".join(_SICK_WORDS), re.IGNORECASE)

# A status that blames neither the request nor the deadline is worth a retry: an operator can fix a wrong
# model name or credential, and no document may be lost until then.
_STATUS: dict[grpc.StatusCode, type[InferenceError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InferenceUnclear,
    grpc.StatusCode.OUT_OF_RANGE: InferenceUnclear,
    grpc.StatusCode.FAILED_PRECONDITION: InferenceUnclear,
    grpc.StatusCode.ALREADY_EXISTS: InferenceUnclear,
    grpc.StatusCode.UNIMPLEMENTED: InferenceUnclear,
    grpc.StatusCode.INTERNAL: InferenceUnclear,
    grpc.StatusCode.DEADLINE_EXCEEDED: InferenceTimeout,
    grpc.StatusCode.RESOURCE_EXHAUSTED: InferenceBusy,
    grpc.StatusCode.UNAVAILABLE: InferenceLost,
    grpc.StatusCode.CANCELLED: InferenceLost,  # by a server that shuts down
    grpc.StatusCode.ABORTED: InferenceSick,
    grpc.StatusCode.DATA_LOSS: InferenceSick,
    grpc.StatusCode.UNKNOWN: InferenceSick,
    grpc.StatusCode.NOT_FOUND: InferenceUnavailable,
    grpc.StatusCode.PERMISSION_DENIED: InferenceUnavailable,
    grpc.StatusCode.UNAUTHENTICATED: InferenceUnavailable,
}
_WORDS_DECIDE = (InferenceUnclear, InferenceBusy)
# An outage that the server had before it had the prompt.
_NEVER_THERE = re.compile(
    "failed to connect|connection refused|resolution|unknown model|no available versions|not ready",
    re.IGNORECASE,
)


def kind_of_fault(code: grpc.StatusCode, details: str) -> type[InferenceError]:
    """Class of the error that a server's status and words stand for.

    Args:
        code: The status; not OK.
        details: The server's words, or those of gRPC about the connection.
    """
    kind = _STATUS[code]
    if _BUSY.search(details):
        return InferenceBusy
    if issubclass(kind, _WORDS_DECIDE):
        if _BAD_REQUEST.search(details):
            return InferenceRejected
        if _SICK.search(details):
            return InferenceSick
    if kind is InferenceLost and _NEVER_THERE.search(details):
        return InferenceUnavailable
    return kind
