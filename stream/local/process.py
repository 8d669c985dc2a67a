"""A part of the stack, and the operating-system process that runs it."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from stream.errors import StackError
from stream.local.reaper import Guard

_TAIL_LINES = 12


class Part(Protocol):
    """Something the stack runs: Kafka, Triton, the worker."""

    @property
    def name(self) -> str:
        """One lower-case word."""
        ...

    @property
    def log_file(self) -> Path:
        """Where its output goes."""
        ...

    def prepare(self) -> None:
        """Make what the command needs (downloads, files); blocking, and without effect when all is there.

        Raises:
            stream.errors.StackError: It cannot be made; the message says how to mend it.
        """
        ...

    def command(self) -> list[str]:
        """The program and its arguments."""
        ...

    def environment(self) -> dict[str, str]:
        """Variables to set on top of the inherited ones."""
        ...

    async def is_ready(self) -> bool:
        """Whether it would serve a request now."""
        ...

    def describe(self) -> str:
        """What and where it is, in one line for a person."""
        ...


class PartProcess:
    """One run of a part: a process group of its own, ended whole, by the guard if this program dies first."""

    def __init__(self, part: Part, guard: Guard) -> None:
        self.part = part
        self._guard = guard
        part.log_file.parent.mkdir(parents=True, exist_ok=True)
        with part.log_file.open("ab") as log:
            self._log_start = log.tell()
            try:
                self._process = subprocess.Popen(
                    part.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | part.environment(),
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{part.name} cannot be started: {error}") from error
        guard.watch(self.pid)

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
        self._guard.forget(self.pid)

    def log_tail(self) -> str:
        """The last lines that this run has logged."""
        with self.part.log_file.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-_TAIL_LINES:])
