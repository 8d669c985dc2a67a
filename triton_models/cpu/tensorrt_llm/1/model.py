"""TensorRT-LLM's ``tensorrt_llm`` model, answered by this project's CPU engine in Triton's python backend.

Names, shapes, paddings and error texts are those of NVIDIA's C++ backend (``inflight_batcher_llm``, 1.2.1),
which answers every fault of a single request with INTERNAL. What a greedy engine cannot do is refused with
UNSUPPORTED.

``execute`` only queues: each prompt enters the engine's running batch, and its answer leaves through the
request's response sender when it is done, in any order.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from stream.engine.decoder import Decoder
from stream.errors import InferenceUnavailable
from stream.generation import Completion, Prompt
from stream.inference.contract import (
    BATCH_REFUSED,
    QUEUE_FULL_IN_ENGINE,
    STREAMING_REFUSED,
    decode_word_list,
)

_CANCELLATION_CHECK_PERIOD = 0.1  # seconds, as cancellation_check_period_ms of the C++ backend
_NO_END = -1  # an end id that no token has

# Inputs that must keep the value at which they change nothing, and inputs that must not come at all.
_NEUTRAL: dict[str, tuple[float, ...]] = {
    "beam_width": (1,),
    "num_return_sequences": (1,),
    "runtime_top_k": (0, 1),
    "min_tokens": (0, 1),
    "temperature": (1,),
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "return_context_logits": (False,),
    "return_generation_logits": (False,),
    "return_perf_metrics": (False,),
    "stop": (False,),
}
_ABSENT = (
    "bad_words_list",
    "embedding_bias",
    "guided_decoding_guide",
    "guided_decoding_guide_type",
    "lora_task_id",
    "draft_input_ids",
    "draft_logits",
    "lookahead_window_size",
)

Inputs = dict[str, NDArray[Any]]


class Refusal(Exception):  # noqa: N818 - names what it is
    """A request that gets an error instead of an answer."""

    def __init__(self, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        # The backend adds TritonError to its module only after it has read this file.
        self.code = pb_utils.TritonError.UNSUPPORTED if unsupported else pb_utils.TritonError.INTERNAL


@dataclass(frozen=True)
class Question:
    """What one request asks for."""

    prompt: Prompt
    outputs: frozenset[str]
    exclude_input: bool
    return_log_probs: bool
    return_num_input_tokens: bool
    return_num_output_tokens: bool

    @classmethod
    def read(cls, request: Any, *, exclude_input: bool) -> "Question":
        """Copy a request's content; its buffers may go once this returns.

        Raises:
            Refusal: It is malformed, or asks for what a greedy engine cannot do.
        """
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        outputs = frozenset(request.requested_output_names())
        _check(inputs, outputs)
        return cls(
            prompt=Prompt(
                ids=tuple(inputs["input_ids"][0].tolist()),
                max_new_tokens=_scalar(inputs, "request_output_len", 0),
                end_id=_scalar(inputs, "end_id", _NO_END),
                stop_ids=_stop_ids(inputs),
            ),
            outputs=outputs,
            exclude_input=_scalar(inputs, "exclude_input_in_output", exclude_input),
            return_log_probs=_scalar(inputs, "return_log_probs", False),
            return_num_input_tokens=_scalar(inputs, "return_num_input_tokens", False),
            return_num_output_tokens=_scalar(inputs, "return_num_output_tokens", False),
        )

    def answer(self, completion: Completion) -> Any:
        """The response; optional outputs that were not asked for are left out."""
        tensors = [
            pb_utils.Tensor(name, array) for name, array in self._tensors(completion) if name in self.outputs
        ]
        return pb_utils.InferenceResponse(tensors)

    def _tensors(self, completion: Completion) -> Iterator[tuple[str, NDArray[Any]]]:
        ids = completion.ids if self.exclude_input else self.prompt.ids + completion.ids
        yield "output_ids", np.array([[ids]], np.int32)
        yield "sequence_length", np.array([[len(ids)]], np.int32)
        if self.return_log_probs:
            yield "output_log_probs", np.array([[completion.log_probs]], np.float32)
            yield "cum_log_probs", np.array([[sum(completion.log_probs)]], np.float32)
        if self.return_num_input_tokens:
            yield "num_input_tokens", np.array([[len(self.prompt.ids)]], np.int32)
        if self.return_num_output_tokens:
            yield "num_output_tokens", np.array([[len(completion.ids)]], np.int32)


@dataclass(frozen=True, eq=False)
class Job:
    """A question in the engine, and where its answer goes."""

    question: Question
    sender: Any
    future: Future[Completion]
    started: float

    def reply(self) -> None:
        """Send the answer, or why there is none; the future must be done."""
        try:
            response = self.question.answer(self.future.result())
        except CancelledError:
            response = _error("The request was cancelled", pb_utils.TritonError.CANCELLED)
        except InferenceUnavailable as error:
            # The engine is gone for good, and so is the use of this process: its watcher ends the server.
            pb_utils.Logger.log_error(str(error))
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - one request's failure is its own; the server goes on
            response = _error(str(error) or repr(error), pb_utils.TritonError.INTERNAL)
        _send(self.sender, response)


class TritonPythonModel:
    """What Triton's python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint named by the environment."""
        for output in (sys.stdout, sys.stderr):
            output.reconfigure(encoding="utf-8")  # the stub's Python starts as in the C locale: ASCII
        _forget_shared_memory_name()
        self._watcher = _end_server_with_this_process()
        config = json.loads(args["model_config"])
        self._limit = int(config["dynamic_batching"]["default_queue_policy"]["max_queue_size"])
        self._exclude_input = config["parameters"]["exclude_input_in_output"]["string_value"] == "true"
        self._decoder = Decoder.load(
            Path(os.environ["PADELLM_MODEL"]),
            threads=int(os.environ.get("PADELLM_ENGINE_THREADS", "1")),
            grounded=os.environ.get("PADELLM_GROUNDED", "false").lower() == "true",
            int8=os.environ.get("PADELLM_INT8", "false").lower() == "true",
        )
        self._jobs: set[Job] = set()
        self._done: SimpleQueue[Job | None] = SimpleQueue()
        self._closing = Event()
        self._threads = [Thread(target=self._reply), Thread(target=self._watch_cancellation)]
        for thread in self._threads:
            thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Queue the requests; ``None`` tells Triton that their senders will answer."""
        accepted: list[tuple[Question, Any]] = []
        for request in requests:
            sender = request.get_response_sender()
            try:
                question = Question.read(request, exclude_input=self._exclude_input)
                if len(self._jobs) + len(accepted) >= self._limit:
                    raise Refusal(QUEUE_FULL_IN_ENGINE.format(limit=self._limit))  # noqa: TRY301 - as any refusal
            except Refusal as refusal:
                _send(sender, _error(str(refusal), refusal.code))
            except Exception as error:  # noqa: BLE001 - an exception here would fail the whole batch
                _send(sender, _error(repr(error), pb_utils.TritonError.INTERNAL))
            else:
                accepted.append((question, sender))
        self._start(accepted)

    def finalize(self) -> None:
        """Stop the threads and the engine."""
        self._closing.set()
        self._decoder.close()
        self._done.put(None)
        for thread in self._threads:
            thread.join()
        self._watcher.communicate(b"finished\n")

    def _start(self, accepted: list[tuple[Question, Any]]) -> None:
        # Together, so that the engine reads a prefix they share once.
        futures = self._decoder.submit_many([question.prompt for question, _ in accepted])
        now = time.monotonic()
        for (question, sender), future in zip(accepted, futures, strict=True):
            job = Job(question, sender, future, now)
            self._jobs.add(job)
            future.add_done_callback(lambda _, job=job: self._done.put(job))

    def _reply(self) -> None:
        """Send answers from a thread of its own: a sender waits for the server, and the engine must not."""
        while job := self._done.get():
            self._jobs.discard(job)
            job.reply()

    def _watch_cancellation(self) -> None:
        """Pass cancellation on to the engine."""
        while not self._closing.wait(_CANCELLATION_CHECK_PERIOD):
            seen = time.monotonic() - _CANCELLATION_CHECK_PERIOD
            for job in self._jobs.copy():
                if job.started < seen and not job.future.done() and job.sender.is_cancelled():
                    job.future.cancel()


def _check(inputs: Inputs, outputs: frozenset[str]) -> None:
    for name in ("output_ids", "sequence_length"):
        if name not in outputs:
            raise Refusal(f"{name} tensor must be present in list of output tensors")
    if "input_ids" not in inputs:
        raise Refusal("inputTokens or encoderInputFeatures tensor not provided")
    if inputs["input_ids"].shape[0] > 1:
        raise Refusal(BATCH_REFUSED)
    if inputs["input_ids"].size == 0:
        raise Refusal("input_ids holds no token")
    if "request_output_len" not in inputs:  # Triton counts required inputs, and does not look which they are
        raise Refusal("request_output_len is not present in the request")
    if _scalar(inputs, "request_output_len", 0) < 1:
        raise Refusal("request_output_len must be at least 1")
    if _scalar(inputs, "streaming", False):
        raise Refusal(STREAMING_REFUSED)
    unsupported = [name for name in _ABSENT if name in inputs]
    unsupported += [
        name for name, neutral in _NEUTRAL.items() if _scalar(inputs, name, neutral[0]) not in neutral
    ]
    if unsupported:
        raise Refusal(
            f"the CPU engine decodes greedily and cannot honour: {', '.join(unsupported)}", unsupported=True
        )


def _scalar(inputs: Inputs, name: str, default: Any) -> Any:
    return inputs[name].item() if name in inputs else default


def _stop_ids(inputs: Inputs) -> tuple[int, ...]:
    if "stop_words_list" not in inputs:
        return ()
    flat, ends = inputs["stop_words_list"].reshape(2, -1).tolist()
    try:
        words = decode_word_list(flat, ends)
    except ValueError as error:
        raise Refusal(str(error)) from error
    if any(len(word) > 1 for word in words):
        raise Refusal(
            "the CPU engine stops at single tokens; stop_words_list holds a longer word", unsupported=True
        )
    return tuple(word[0] for word in words)


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def _send(sender: Any, response: Any) -> None:
    try:
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception as error:  # noqa: BLE001 - a request that is gone must not stop the sending thread
        pb_utils.Logger.log_warn(f"an answer could not be sent: {error!r}")


def _end_server_with_this_process() -> "subprocess.Popen[bytes]":
    """Start a watcher that kills the server should this process die: a line on its input calls it off.

    Triton would keep the requests of a dead stub waiting, start no other one, and still report itself ready.
    A server that is gone is noticed and started again, by a supervisor or a container's restart policy.
    """
    script = 'read -r _ || if grep -qsx tritonserver "/proc/$0/comm"; then kill -KILL "$0"; fi'
    return subprocess.Popen(["/bin/sh", "-c", script, str(os.getppid())], stdin=subprocess.PIPE)


def _forget_shared_memory_name() -> None:
    """Remove the name of the region this process shares with the server, which both have open by now.

    A region without a name ends with its processes; with one, it stays in /dev/shm after ``kill -9``.
    """
    region = Path("/proc/self/cmdline").read_bytes().split(b"\0")[2].decode()
    with suppress(FileNotFoundError):
        (Path("/dev/shm") / region).unlink()  # noqa: S108 - where POSIX shared memory lives on Linux
