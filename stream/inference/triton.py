"""The inference seam over gRPC: a Triton server's ``tensorrt_llm`` model, whatever backend answers for it.

Every request carries the same inputs, since Triton batches only requests alike in that. Tensors are INT32,
BOOL and FP32, of the model's one version, and never in shared memory. Requests are built on tritonclient's
generated protocol classes, from one template per kind of prompt: 5 µs each, where its ``InferInput`` objects
take 45.
"""

import asyncio
import random
import re
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

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

QUEUE_FULL_IN_TRITON = "Exceeds maximum queue size"
QUEUE_FULL_IN_ENGINE = "Maximum queue size of {limit} has been reached, please try again later"
BATCH_REFUSED = "Batch size > 1 requires the tensorrt_llm backend to be using decoupled transaction policy"
STREAMING_REFUSED = "Streaming is only supported if model is deployed using decoupled mode."

PADDING = -1


def encode_word_list(words: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows of ``stop_words_list`` for words of one token each: flat ids, and where each word ends among them.

    No words are one padded column: the row of ends must not be empty.
    """
    return (list(words), list(range(1, len(words) + 1))) if words else ([0], [PADDING])


def decode_word_list(flat: Sequence[int], ends: Sequence[int]) -> list[tuple[int, ...]]:
    """The words of a ``stop_words_list``; the inverse of ``encode_word_list`` for words of any length.

    Raises:
        ValueError: The ends do not increase, point outside the ids, or go on after padding.
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
    # A server that is back is found within about a second; gRPC's own back-off goes up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Whatever its name says, this is how long a try to connect may take. A healthy server that is far away,
    # or has all its cores busy, takes its time to shake hands.
    ("grpc.min_reconnect_backoff_ms", 5000),
)
_READY_DEADLINE = 2.0
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0

_QUEUE_FULL = re.compile(f"{QUEUE_FULL_IN_TRITON}|{QUEUE_FULL_IN_ENGINE.format(limit='[0-9]+')}")
# An INTERNAL fault that is not the request's: the python backend's process died, and the server will follow.
_BACKEND_DIED = re.compile(r"[Ss]tub process .* is not healthy")

# What each status says of the next try. One that blames neither the request nor the clock leaves hope: a
# wrong model name or credential is for an operator to mend, and no document may be lost meanwhile.
_ERRORS: dict[grpc.StatusCode, type[InferenceError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InferenceRejected,
    grpc.StatusCode.OUT_OF_RANGE: InferenceRejected,
    grpc.StatusCode.FAILED_PRECONDITION: InferenceRejected,
    grpc.StatusCode.ALREADY_EXISTS: InferenceRejected,
    grpc.StatusCode.UNIMPLEMENTED: InferenceRejected,
    grpc.StatusCode.INTERNAL: InferenceRejected,  # the TensorRT-LLM backend's word for every bad request
    grpc.StatusCode.DEADLINE_EXCEEDED: InferenceTimeout,
    grpc.StatusCode.RESOURCE_EXHAUSTED: InferenceBusy,
    grpc.StatusCode.UNAVAILABLE: InferenceUnavailable,
    grpc.StatusCode.CANCELLED: InferenceUnavailable,  # by a server that stops
    grpc.StatusCode.ABORTED: InferenceUnavailable,
    grpc.StatusCode.DATA_LOSS: InferenceUnavailable,
    grpc.StatusCode.UNKNOWN: InferenceUnavailable,
    grpc.StatusCode.NOT_FOUND: InferenceUnavailable,
    grpc.StatusCode.PERMISSION_DENIED: InferenceUnavailable,
    grpc.StatusCode.UNAUTHENTICATED: InferenceUnavailable,
}


class TritonGenerator:
    """A ``stream.generation.Generator`` over one Triton server; made and used in one event loop.

    Args:
        url: gRPC address, host:port.
        model: The model's name in Triton.
        in_flight: Most requests at the server at once; others wait their turn here.
        call_deadline: Seconds one try may take, and after which no further try is begun.
        breaker_failures: Consecutive failures that open the circuit breaker.
        breaker_pause: Seconds it stays open before a probe.
        on_breaker_change: Told every new state of the breaker.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "tensorrt_llm",
        in_flight: int = 256,
        call_deadline: float = 30.0,
        breaker_failures: int = 5,
        breaker_pause: float = 2.0,
        on_breaker_change: Callable[[BreakerState], None] | None = None,
    ) -> None:
        self._server = f"Triton at {url}"
        self._model = model
        self._deadline = call_deadline
        self._slots = asyncio.Semaphore(in_flight)
        self._breaker = CircuitBreaker(
            self._server, failures=breaker_failures, pause=breaker_pause, on_change=on_breaker_change
        )
        self._channel = grpc.aio.insecure_channel(url, options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    @property
    def breaker_state(self) -> BreakerState:
        """Where the circuit breaker stands."""
        return self._breaker.state

    async def generate(self, prompt: Prompt) -> Completion:
        """Continue one prompt.

        A failing server or a full queue is tried again, with back-off and jitter, until the deadline is over.
        Once the circuit breaker is open, a call waits for its next probe and gives up when that fails too: an
        outage is the caller's to sit out.

        Raises:
            InferenceOutage: The server has failed for a while.
            InferenceUnavailable: It failed, or its queue was full, until the deadline was over.
            InferenceTimeout: It took longer than the deadline for one try.
            InferenceRejected: The server refused the request; it would again.
        """
        request = _request(self._model, prompt)
        delays = _delays()
        give_up_at = time.monotonic() + self._deadline
        while True:
            try:
                async with self._slots:
                    return await self._breaker.call(lambda: self._infer(request))
            except InferenceOutage:
                raise
            except InferenceUnavailable:
                if time.monotonic() > give_up_at:
                    raise
            await asyncio.sleep(next(delays))

    async def ready(self) -> bool:
        """Whether server and model would serve a prompt now."""
        model = service_pb2.ModelReadyRequest(name=self._model)
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
        raw = dict(
            zip((output.name for output in response.outputs), response.raw_output_contents, strict=True)
        )
        try:
            (length,) = array("i", raw["sequence_length"])
            ids = array("i", raw["output_ids"])[:length]
            log_probs = array("f", raw["output_log_probs"])[:length]
        except (KeyError, ValueError) as error:
            raise InferenceRejected(
                f"{self._server} does not keep to the contract of the tensorrt_llm model: {self._model} "
                f"answered with {sorted(raw)} ({error!r})"
            ) from error
        return Completion(tuple(ids), tuple(log_probs))


def _delays() -> Iterator[float]:
    """Seconds to wait after each failed try: limits that double, and full jitter below them."""
    limit = _FIRST_DELAY
    while True:
        yield random.uniform(0, limit)  # noqa: S311 - no secret
        limit = min(2 * limit, _LONGEST_DELAY)


def _request(model: str, prompt: Prompt) -> Any:
    """A ModelInferRequest: all that prompts of a kind share, and then the ids."""
    request = service_pb2.ModelInferRequest()
    request.CopyFrom(_template(model, prompt.max_new_tokens, prompt.end_id, prompt.stop_ids))
    length = len(prompt.ids)
    request.inputs[-1].shape[1] = length
    request.raw_input_contents.append(array("i", (length,)).tobytes())
    request.raw_input_contents.append(array("i", prompt.ids).tobytes())
    return request


@lru_cache(maxsize=256)
def _template(model: str, max_new_tokens: int, end_id: int, stop_ids: tuple[int, ...]) -> Any:
    """A request that lacks its ids: ``input_lengths`` and ``input_ids`` come last, without their contents."""
    request = service_pb2.ModelInferRequest(model_name=model)
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
