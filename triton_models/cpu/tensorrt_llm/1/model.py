"""TensorRT-LLM's ``tensorrt_llm`` model, answered by this project's CPU engine in Triton's python backend.

Names, shapes, paddings and error texts are those of NVIDIA's C++ backend (``inflight_batcher_llm``, 1.2.1),
which answers every fault of a single request with INTERNAL. What a greedy engine cannot do is refused with
UNSUPPORTED.

``execute`` only queues: each prompt enters the engine's running batch, and its answer leaves through the
request's response sender when it is done, in any order.
"""

import gc
import json
import os
import subprocess
import sys
import time
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

import triton_python_backend_utils as pb_utils
from question import Question, Refusal

from stream.engine.decoder import Decoder
from stream.errors import InferenceUnavailable
from stream.generation import Completion
from stream.inference.triton import QUEUE_FULL_IN_ENGINE

_CANCELLATION_CHECK_PERIOD = 0.1  # seconds, as cancellation_check_period_ms of the C++ backend
_LONGEST_CANCELLATION_CHECK_PERIOD = 0.5
_REPLIERS = 4  # each waits most of its time, for the server to take an answer


class Job:
    """A question in the engine, and where its answer goes."""

    def __init__(self, question: Question, sender: Any) -> None:
        self._question = question
        self._sender = sender
        self._asked = time.monotonic()
        self._next_look = self._asked + _CANCELLATION_CHECK_PERIOD
        self._answered = False
        self._lock = Lock()

    def reply(self, future: Future[Completion]) -> None:
        """Send the answer, or why there is none; the future must be done."""
        try:
            response = self._question.answer(future.result())
        except CancelledError:
            response = _error("The request was cancelled", pb_utils.TritonError.CANCELLED)
        except InferenceUnavailable as error:
            # The engine is gone for good, and so is the use of this process: its watcher ends the server.
            pb_utils.Logger.log_error(str(error))
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - one request's failure is its own; the server goes on
            response = _error(str(error) or repr(error), pb_utils.TritonError.INTERNAL)
        with self._lock:
            self._answered = True
        _send(self._sender, response)

    def is_abandoned(self, now: float) -> bool:
        """Whether its client is gone; looks less often as it grows old.

        Once the answer is on its way the sender must not be asked: the server has let go of the request by
        then, and would crash.
        """
        if now < self._next_look:
            return False
        self._next_look = now + min(now - self._asked, _LONGEST_CANCELLATION_CHECK_PERIOD)
        with self._lock:
            return not self._answered and bool(self._sender.is_cancelled())


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
        # By future, which knows nothing of its job: in a cycle the job's sender, and what it holds of the
        # memory shared with the server, would stay until a collection.
        self._jobs: dict[Future[Completion], Job] = {}
        self._done: SimpleQueue[Future[Completion] | None] = SimpleQueue()
        self._closing = Event()
        self._repliers = [Thread(target=self._reply) for _ in range(_REPLIERS)]
        self._threads = [*self._repliers, Thread(target=self._watch_cancellation)]
        for thread in self._threads:
            thread.start()
        # What was imported and loaded stays; collections need not look at it again and again.
        gc.collect()
        gc.freeze()

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
        for _ in self._repliers:
            self._done.put(None)
        for thread in self._threads:
            thread.join()
        self._watcher.communicate(b"finished\n")

    def _start(self, accepted: list[tuple[Question, Any]]) -> None:
        # Together, so that the engine reads a prefix they share once.
        futures = self._decoder.submit_many([question.prompt for question, _ in accepted])
        for (question, sender), future in zip(accepted, futures, strict=True):
            self._jobs[future] = Job(question, sender)
            future.add_done_callback(self._done.put)

    def _reply(self) -> None:
        """Send answers, in threads of their own: a sender waits for the server, and the engine must not."""
        while (future := self._done.get()) is not None:
            self._jobs.pop(future).reply(future)

    def _watch_cancellation(self) -> None:
        """Pass cancellation on to the engine."""
        while not self._closing.wait(_CANCELLATION_CHECK_PERIOD):
            now = time.monotonic()
            for future, job in self._jobs.copy().items():
                if job.is_abandoned(now):
                    future.cancel()


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
