"""TensorRT-LLM's ``tensorrt_llm`` model, answered by this project's CPU engine in Triton's python backend.

Names, shapes, paddings and error texts are those of NVIDIA's C++ backend (``inflight_batcher_llm``, 1.2.1),
which answers every fault of a single request with INTERNAL. Requests that greedy decoding cannot honour are
refused with UNSUPPORTED.

``execute`` only queues: each prompt enters the engine's running batch, and its response leaves through the
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
from request import GenerationRequest, Refusal

from stream.bundled import model_folder
from stream.engine.decoder import Decoder, EngineOptions
from stream.errors import InferenceUnavailable
from stream.generation import Completion
from stream.inference.faults import QUEUE_FULL_IN_ENGINE
from stream.settings import Settings

_CANCELLATION_CHECK_PERIOD = 0.1  # seconds, as cancellation_check_period_ms of the C++ backend
_LONGEST_CANCELLATION_CHECK_PERIOD = 0.5
_REPLIERS = 4  # each mostly waits for the server to take a response


class Job:
    """A request in the engine, with its response sender."""

    def __init__(self, request: GenerationRequest, sender: Any) -> None:
        self._request = request
        self._sender = sender
        self._began = time.monotonic()
        self._next_check = self._began + _CANCELLATION_CHECK_PERIOD
        self._answered = False
        self._lock = Lock()

    def reply(self, future: Future[Completion]) -> None:
        """Send the completion or the error; the future must be done."""
        try:
            response = self._request.response(future.result())
        except CancelledError:
            response = _error("The request was cancelled", pb_utils.TritonError.CANCELLED)
        except InferenceUnavailable as error:
            # The engine is gone for good, so this process is useless: its watcher ends the server.
            pb_utils.Logger.log_error(str(error))
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - the failure of one request is no other's
            response = _error(str(error) or repr(error), pb_utils.TritonError.INTERNAL)
        with self._lock:
            self._answered = True
        _send(self._sender, response)

    def is_abandoned(self, now: float) -> bool:
        """True once its client is gone; checked less often as the request ages.

        Once the response is on its way the sender must not be called: the server has released the request by
        then, and would crash.
        """
        if now < self._next_check:
            return False
        self._next_check = now + min(now - self._began, _LONGEST_CANCELLATION_CHECK_PERIOD)
        with self._lock:
            return not self._answered and bool(self._sender.is_cancelled())


class TritonPythonModel:
    """The class that Triton's python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model that ``stream.settings`` names; all engine settings are read there."""
        for output in (sys.stdout, sys.stderr):
            output.reconfigure(encoding="utf-8")  # the stub's Python starts as in the C locale: ASCII
        _forget_shared_memory_name()
        self._watcher = _end_server_with_this_process()
        config = json.loads(args["model_config"])
        self._limit = int(config["dynamic_batching"]["default_queue_policy"]["max_queue_size"])
        self._exclude_input = config["parameters"]["exclude_input_in_output"]["string_value"] == "true"
        settings = Settings()
        self._decoder = Decoder.load(model_folder(settings.model), EngineOptions.from_settings(settings))
        # By future, without a reference from the future to its job: in a cycle the job's sender would keep
        # its part of the memory shared with the server until a garbage collection.
        self._jobs: dict[Future[Completion], Job] = {}
        self._done: SimpleQueue[Future[Completion] | None] = SimpleQueue()
        self._closing = Event()
        self._repliers = [Thread(target=self._reply) for _ in range(_REPLIERS)]
        self._threads = [*self._repliers, Thread(target=self._watch_cancellation)]
        for thread in self._threads:
            thread.start()
        # Imported modules and the model stay; garbage collections need not traverse them again.
        gc.collect()
        gc.freeze()

    def execute(self, requests: list[Any]) -> None:
        """Queue the requests; Triton takes ``None`` for a promise that their senders will respond."""
        accepted: list[tuple[GenerationRequest, Any]] = []
        for request in requests:
            sender = request.get_response_sender()
            try:
                parsed = GenerationRequest.parse(request, exclude_input=self._exclude_input)
                if len(self._jobs) + len(accepted) >= self._limit:
                    raise Refusal(QUEUE_FULL_IN_ENGINE.format(limit=self._limit))  # noqa: TRY301 - as any refusal
            except Refusal as refusal:
                _send(sender, _error(str(refusal), refusal.code))
            except Exception as error:  # noqa: BLE001 - an exception here would fail the whole batch
                _send(sender, _error(repr(error), pb_utils.TritonError.INTERNAL))
            else:
                accepted.append((parsed, sender))
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

    def _start(self, accepted: list[tuple[GenerationRequest, Any]]) -> None:
        # Together, so that the engine prefills a shared prefix once.
        futures = self._decoder.submit_many([request.prompt for request, _ in accepted])
        for (request, sender), future in zip(accepted, futures, strict=True):
            self._jobs[future] = Job(request, sender)
            future.add_done_callback(self._done.put)

    def _reply(self) -> None:
        """Send responses outside the engine's threads, since a sender waits for the server."""
        while (future := self._done.get()) is not None:
            self._jobs.pop(future).reply(future)

    def _watch_cancellation(self) -> None:
        """Cancel abandoned requests in the engine."""
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
    except Exception as error:  # noqa: BLE001 - an abandoned request must not stop the sending thread
        pb_utils.Logger.log_warn(f"a response could not be sent: {error!r}")


def _end_server_with_this_process() -> "subprocess.Popen[bytes]":
    """Start a watcher that kills the server if this process dies; a line on its input calls it off.

    Triton would leave a dead stub's requests waiting, start no other stub, and still report itself ready.
    A supervisor or a container's restart policy restarts a dead server.
    """
    script = 'read -r _ || if grep -qsx tritonserver "/proc/$0/comm"; then kill -KILL "$0"; fi'
    return subprocess.Popen(["/bin/sh", "-c", script, str(os.getppid())], stdin=subprocess.PIPE)


def _forget_shared_memory_name() -> None:
    """Unlink the memory region shared with the server, which both processes have open by now.

    An unlinked region is freed with its processes; a linked one stays in /dev/shm after ``kill -9``.
    """
    region = Path("/proc/self/cmdline").read_bytes().split(b"\0")[2].decode()
    with suppress(FileNotFoundError):
        (Path("/dev/shm") / region).unlink()  # noqa: S108 - where POSIX shared memory lives on Linux
