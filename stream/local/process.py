"""The services of the embedded stack, and the operating-system process of each."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from stream.errors import StackError
from stream.local.reaper import Reaper

_TAIL_LINES = 12


class Service(Protocol):
    """Kafka, Triton or the worker."""

    @property
    def name(self) -> str:
        """One lower-case word."""
        ...

    @property
    def log_file(self) -> Path:
        """The file for its output."""
        ...

    def prepare(self) -> None:
        """Create the command's downloads and files; blocking, and without effect when all exist.

        Raises:
            stream.errors.StackError: That failed; the message says how to fix it.
        """
        ...

    def command(self) -> list[str]:
        """The program and its arguments."""
        ...

    def environment(self) -> dict[str, str]:
        """Variables to set on top of the inherited ones."""
        ...

    async def is_ready(self) -> bool:
        """True if it would serve a request now."""
        ...


class ServiceProcess:
    """One run of a service, in a process group of its own; the reaper ends it if this program dies first."""

    def __init__(self, service: Service, reaper: Reaper) -> None:
        self.service = service
        self._reaper = reaper
        service.log_file.parent.mkdir(parents=True, exist_ok=True)
        with service.log_file.open("ab") as log:
            self._log_start = log.tell()
            try:
                self._process = subprocess.Popen(
                    service.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | service.environment(),
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{service.name} cannot be started: {error}") from error
        reaper.watch(self.pid)

    @property
    def pid(self) -> int:
        """Process id, and process group id."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """None while it runs; else its exit status, negative for a signal."""
        return self._process.poll()

    def stop(self, *, patience: float) -> None:
        """Ask it to end, wait up to ``patience`` seconds, then end its whole group."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self.kill()

    def kill(self) -> None:
        """End the whole process group at once (SIGKILL)."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._reaper.forget(self.pid)

    def log_tail(self) -> str:
        """The last lines of this run's log."""
        with self.service.log_file.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-_TAIL_LINES:])
