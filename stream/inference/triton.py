"""gRPC client of a Triton server's ``tensorrt_llm`` model, with any backend behind it.

Every request carries the same inputs, since Triton batches only requests with equal sets of inputs. Tensors
are INT32, BOOL and FP32; shared memory is not used. Requests are built from tritonclient's generated protocol
classes, with one template per kind of prompt: 5 µs each, where its ``InferInput`` objects take 45.
"""

import asyncio
import re
import time
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from stream.backoff import pauses
from stream.errors import (
    InferenceBusy,
    InferenceError,
    InferenceOutage,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
)
from stream.generation import Completion, Prompt
from stream.inference.breaker import BreakerState, CircuitBreaker

MODEL_NAME = "tensorrt_llm"

# Error texts of Triton and of its TensorRT-LLM backend.
QUEUE_FULL_IN_TRITON = "Exceeds maximum queue size"
QUEUE_FULL_IN_ENGINE = "Maximum queue size of {limit} has been reached, please try again later"
BATCH_REFUSED = "Batch size > 1 requires the tensorrt_llm backend to be using decoupled transaction policy"
STREAMING_REFUSED = "Streaming is only supported if model is deployed using decoupled mode."

PADDING = -1


def encode_word_list(words: Sequence[int]) -> tuple[list[int], list[int]]:
    """Encode words of one token each as the two rows of ``stop_words_list``: flat ids, and each word's end.

    Without words there is one column of padding, since the row of ends must not be empty.
    """
    return (list(words), list(range(1, len(words) + 1))) if words else ([0], [PADDING])


def decode_word_list(flat: Sequence[int], ends: Sequence[int]) -> list[tuple[int, ...]]:
    """Decode a ``stop_words_list``; the inverse of ``encode_word_list``, for words of any length.

    Raises:
        ValueError: The ends do not increase, point outside the ids, or continue after padding.
    """
    used = [end for end in ends if end != PADDING]
    if list(ends[: len(used)]) != used:
        raise ValueError("Sparse list must not have additional -1s")
    starts = [0, *used]
    if any(end <= start for start, end in zip(starts, used, strict=False)):
        raise ValueError("Sparse list must not have non-increasing offsets")
    if used and used[-1] > len(flat):
        raise ValueError("Sparse list must not have out-of-bound offsets")
    return [tuple(flat[start:end]) for start, end in zip(starts, used, strict=False)]


_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A recovered server is found within about a second; gRPC's own back-off grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Despite its name, this is the timeout of a connection attempt. A healthy server that is far away, or
    # busy on all cores, needs time for the handshake.
    ("grpc.min_reconnect_backoff_ms", 5000),
)
_READY_DEADLINE = 2.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0

_QUEUE_FULL = re.compile(f"{QUEUE_FULL_IN_TRITON}|{QUEUE_FULL_IN_ENGINE.format(limit='[0-9]+')}")
# An INTERNAL error that no request caused: the python backend's process died, and the server will end.
_BACKEND_DIED = re.compile(r"[Ss]tub process .* is not healthy")

# A status that blames neither the request nor the deadline is worth a retry: an operator can fix a wrong
# model name or credential, and no document may be lost until then.
_ERRORS: dict[grpc.StatusCode, type[InferenceError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InferenceRejected,
    grpc.StatusCode.OUT_OF_RANGE: InferenceRejected,
    grpc.StatusCode.FAILED_PRECONDITION: InferenceRejected,
    grpc.StatusCode.ALREADY_EXISTS: InferenceRejected,
    grpc.StatusCode.UNIMPLEMENTED: InferenceRejected,
    grpc.StatusCode.INTERNAL: InferenceRejected,  # every bad request, in the TensorRT-LLM backend
    grpc.StatusCode.DEADLINE_EXCEEDED: InferenceTimeout,
    grpc.StatusCode.RESOURCE_EXHAUSTED: InferenceBusy,
    grpc.StatusCode.UNAVAILABLE: InferenceUnavailable,
    grpc.StatusCode.CANCELLED: InferenceUnavailable,  # by a server that shuts down
    grpc.StatusCode.ABORTED: InferenceUnavailable,
    grpc.StatusCode.DATA_LOSS: InferenceUnavailable,
    grpc.StatusCode.UNKNOWN: InferenceUnavailable,
    grpc.StatusCode.NOT_FOUND: InferenceUnavailable,
    grpc.StatusCode.PERMISSION_DENIED: InferenceUnavailable,
    grpc.StatusCode.UNAUTHENTICATED: InferenceUnavailable,
}


class TritonGenerator:
    """A ``stream.generation.Generator`` over one Triton server; created and used in one event loop.

    Args:
        url: gRPC address, host:port.
        in_flight: Most concurrent requests; further ones are queued here.
        call_deadline: Timeout of one attempt in seconds; after it no retry is started.
        breaker_failures: Consecutive failures that open the circuit breaker.
        breaker_pause: Seconds that it stays open before a probe.
        on_breaker_change: Called with every new state of the breaker.
    """

    def __init__(
        self,
        url: str,
        *,
        in_flight: int = 256,
        call_deadline: float = 30.0,
        breaker_failures: int = 5,
        breaker_pause: float = 2.0,
        on_breaker_change: Callable[[BreakerState], None] | None = None,
    ) -> None:
        self._server = f"Triton at {url}"
        self._deadline = call_deadline
        self._slots = asyncio.Semaphore(in_flight)
        self._breaker = CircuitBreaker(
            self._server, failures=breaker_failures, pause=breaker_pause, on_change=on_breaker_change
        )
        self._channel = grpc.aio.insecure_channel(url, options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    @property
    def breaker_state(self) -> BreakerState:
        """State of the circuit breaker."""
        return self._breaker.state

    async def generate(self, prompt: Prompt) -> Completion:
        """Continue one prompt.

        Calls to a failing server or a full queue are retried until the deadline, with back-off and jitter.
        While the circuit breaker is open, a call waits for the next probe and fails with it: the caller
        decides how long to wait for the end of an outage.

        Raises:
            InferenceOutage: The circuit breaker is open, and its probe failed.
            InferenceUnavailable: The server failed, or its queue was full, until the deadline.
            InferenceTimeout: One attempt took longer than the deadline.
            InferenceRejected: The server refused the request; a retry would be refused too.
        """
        request = _request(prompt)
        give_up_at = time.monotonic() + self._deadline
        for pause in pauses(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE):
            try:
                async with self._slots:
                    return await self._breaker.call(lambda: self._infer(request))
            except InferenceOutage:
                raise
            except InferenceUnavailable:
                if time.monotonic() > give_up_at:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("pauses have no end")

    async def ready(self) -> bool:
        """Ask whether server and model would serve a prompt now."""
        model = service_pb2.ModelReadyRequest(name=MODEL_NAME)
        try:
            server_ready = await self._stub.ServerReady(
                service_pb2.ServerReadyRequest(), timeout=_READY_DEADLINE
            )
            model_ready = await self._stub.ModelReady(model, timeout=_READY_DEADLINE)
        except grpc.aio.AioRpcError:
            return False
        return bool(server_ready.ready and model_ready.ready)

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled, at the server too."""
        await self._channel.close()

    async def _infer(self, request: Any) -> Completion:
        try:
            response = await self._stub.ModelInfer(request, timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error
        return self._completion(response)

    def _translated(self, error: grpc.aio.AioRpcError) -> InferenceError:
        code, details = error.code(), error.details() or ""
        kind = _ERRORS[code]
        if _QUEUE_FULL.search(details):
            kind = InferenceBusy
        elif code is grpc.StatusCode.INTERNAL and _BACKEND_DIED.search(details):
            kind = InferenceUnavailable
        return kind(f"{self._server} answered {code.name}: {details}")

    def _completion(self, response: Any) -> Completion:
        names = [output.name for output in response.outputs]
        try:
            raw = dict(zip(names, response.raw_output_contents, strict=True))
            (length,) = array("i", raw["sequence_length"])
            ids = array("i", raw["output_ids"])[:length]
            log_probs = array("f", raw["output_log_probs"])[:length]
        except (KeyError, ValueError) as error:
            raise InferenceRejected(
                f"{self._server} breaks the contract of the model {MODEL_NAME}: "
                f"it answered with {sorted(names)} ({error!r})"
            ) from error
        return Completion(tuple(ids), tuple(log_probs))


def _request(prompt: Prompt) -> Any:
    """Build a ModelInferRequest: the template of the prompt's kind, and its ids."""
    request = service_pb2.ModelInferRequest()
    request.CopyFrom(_template(prompt.max_new_tokens, prompt.end_id, prompt.stop_ids))
    length = len(prompt.ids)
    request.inputs[-1].shape[1] = length
    request.raw_input_contents.append(array("i", (length,)).tobytes())
    request.raw_input_contents.append(array("i", prompt.ids).tobytes())
    return request


@lru_cache(maxsize=256)
def _template(max_new_tokens: int, end_id: int, stop_ids: tuple[int, ...]) -> Any:
    """Build a request without ids: ``input_lengths`` and ``input_ids`` come last and have no contents."""
    request = service_pb2.ModelInferRequest(model_name=MODEL_NAME)
    words, ends = encode_word_list(stop_ids)

    def declare(name: str, datatype: str, *shape: int) -> None:
        request.inputs.add(name=name, datatype=datatype, shape=shape)

    def integers(name: str, values: list[int], *shape: int) -> None:
        declare(name, "INT32", *shape)
        request.raw_input_contents.append(array("i", values).tobytes())

    def true(name: str) -> None:
        declare(name, "BOOL", 1, 1)
        request.raw_input_contents.append(b"\x01")

    integers("request_output_len", [max_new_tokens], 1, 1)
    integers("end_id", [end_id], 1, 1)
    integers("stop_words_list", words + ends, 1, 2, len(words))
    # Greedy; TensorRT-LLM computes log-probabilities only where a sampling parameter is set.
    integers("runtime_top_k", [1], 1, 1)
    true("return_log_probs")
    true("exclude_input_in_output")
    declare("input_lengths", "INT32", 1, 1)
    declare("input_ids", "INT32", 1, 0)
    for name in ("output_ids", "sequence_length", "output_log_probs"):
        request.outputs.add(name=name)
    return request
