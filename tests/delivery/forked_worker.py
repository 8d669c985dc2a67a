"""Recording workers forked from one process that has imported everything, for a tenth of a start's work."""

import multiprocessing
import os
import signal
import subprocess
import threading
from multiprocessing import connection
from pathlib import Path

from tests.delivery import recording_worker

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([recording_worker.__name__])


class ForkedWorker:
    """A worker process, as ``subprocess.Popen`` would hold it.

    Args:
        program: As for Python: ``-m``, the recording worker, and its arguments.
        environment: Variables to set on top of the inherited ones.
        log: For its standard error.
    """

    def __init__(self, program: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
        flag, module, *arguments = program
        assert (flag, module) == ("-m", recording_worker.__name__), f"{program} is another program"
        self._process = _FORKS.Process(target=_work, args=(arguments, environment, log), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns its exit status.

        Raises:
            subprocess.TimeoutExpired: It still runs.
        """
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("recording worker", timeout or 0)
        return status


def _work(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    # As the supervisor starts one: Ctrl-C reaches the harness alone, and Linux shares cores out by session.
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(descriptor, 2)
    threading.Thread(target=_end_with_harness, daemon=True).start()
    os.environ.update(environment)
    recording_worker.main(*arguments)


def _end_with_harness() -> None:
    """End this process at once when the one that asked for it is gone, however that ended."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
