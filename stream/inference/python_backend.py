"""Common parts of the models in Triton's python backend: requests, responses, the end of the server.

``triton_python_backend_utils`` exists in the backend's stub alone.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import triton_python_backend_utils as pb_utils

from stream.generation import Completion
from stream.inference.contract import CacheUse, GenerationRequest, Refusal

CANCELLATION_CHECK_PERIOD = 0.1  # seconds, as cancellation_check_period_ms of the C++ backend
_LONGEST_CANCELLATION_CHECK_PERIOD = 0.5


class Exchange:
    """A request with its response sender, from its arrival to its one response.

    Attributes:
        request: Its content.
    """

    def __init__(self, request: GenerationRequest, sender: Any) -> None:
        self.request = request
        self._sender = sender
        self._began = time.monotonic()
        self._next_check = self._began + CANCELLATION_CHECK_PERIOD
        self._answered = False
        self._lock = Lock()

    def answer(self, completion: Completion, cache: CacheUse | None = None) -> None:
        """Send the completion."""
        self._reply(response(self.request, completion, cache))

    def cancel(self) -> None:
        """Say that it was cancelled, to whom it may concern."""
        self._reply(error("The request was cancelled", pb_utils.TritonError.CANCELLED))

    def fail(self, reason: Exception) -> None:
        """Send a failure of this request alone."""
        self._reply(error(str(reason) or repr(reason), pb_utils.TritonError.INTERNAL))

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

    def _reply(self, reply: Any) -> None:
        with self._lock:
            self._answered = True
        send(self._sender, reply)


def take(request: Any, **engine: Any) -> Exchange | None:
    """Read a request; one that cannot be served is answered here, since an exception would fail its batch.

    Args:
        request: Of the python backend.
        engine: Further arguments of ``GenerationRequest.parse``.

    Returns:
        The exchange to answer; None if it has been refused.
    """
    sender = request.get_response_sender()
    try:
        return Exchange(parse(request, **engine), sender)
    except Refusal as refusal:
        send(sender, error(str(refusal), _code(refusal)))
    except Exception as fault:  # noqa: BLE001 - an exception here would fail the whole batch
        send(sender, error(repr(fault), pb_utils.TritonError.INTERNAL))
    return None


def parse(request: Any, **engine: Any) -> GenerationRequest:
    """Copy a request's content.

    Raises:
        Refusal: As ``GenerationRequest.parse``.
    """
    inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    return GenerationRequest.parse(inputs, frozenset(request.requested_output_names()), **engine)


def response(request: GenerationRequest, completion: Completion, cache: CacheUse | None = None) -> Any:
    """Build the response to a request; outputs that were not requested are omitted."""
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, array) for name, array in request.tensors(completion, cache)]
    )


def error(message: str, code: int) -> Any:
    """Build a response that is an error."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def send(sender: Any, reply: Any) -> None:
    """Send the one response to a request."""
    try:
        sender.send(reply, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception as fault:  # noqa: BLE001 - an abandoned request must not stop the sending thread
        pb_utils.Logger.log_warn(f"a response could not be sent: {fault!r}")


def parameters(args: dict[str, str]) -> dict[str, str]:
    """The parameters of a model's ``config.pbtxt``, from what ``initialize`` is given."""
    config = json.loads(args["model_config"])
    return {name: each["string_value"] for name, each in config["parameters"].items()}


def prepare_process() -> "subprocess.Popen[bytes]":
    """Make the stub's process fit for a model.

    Returns:
        The watcher that ends the server with this process; ``communicate(FINISHED)`` calls it off.
    """
    for output in (sys.stdout, sys.stderr):
        output.reconfigure(encoding="utf-8")  # type: ignore[union-attr] # the stub's Python starts as in the C locale: ASCII
    _forget_shared_memory_name()
    return _end_server_with_this_process()


FINISHED = b"finished\n"


def end_process(reason: object) -> None:
    """End this process, which is useless without its engine, and so the server."""
    pb_utils.Logger.log_error(str(reason))
    os._exit(1)


def _code(refusal: Refusal) -> int:
    # The backend adds TritonError to its module only after it has read this file.
    errors = pb_utils.TritonError
    code: int = errors.UNSUPPORTED if refusal.unsupported else errors.INTERNAL
    return code


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
