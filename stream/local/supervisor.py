"""Runs the parts of the stack: starts them, restarts what dies, ends them all in reverse order."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.errors import StackError
from stream.local.process import Part, PartProcess
from stream.local.reaper import Guard

_POLL = 0.1


class State(StrEnum):
    """Where a part is in its life."""

    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Change:
    """A part's new state.

    Attributes:
        seconds: Since the part was first asked for (READY), or how long it had lived (DIED).
        exit_status: Of the process that died.
    """

    part: Part
    state: State
    seconds: float = 0.0
    exit_status: int | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the supervisor waits, in seconds, and how often it tries.

    Attributes:
        ready: For a part to become ready.
        stop: For a part to end after SIGTERM.
        quick_death: A part that lived shorter than this died quickly.
        quick_deaths: So many quick deaths in a row, and the part is given up.
        back_off: Pause before the first restart; doubled after each quick death.
    """

    ready: float = 120.0
    stop: float = 30.0
    quick_death: float = 10.0
    quick_deaths: int = 4
    back_off: float = 0.5


class Supervisor:
    """Runs parts until it is left (an async context manager); leaving ends them, last started first.

    Args:
        on_change: Called at every change of a part's state.
        patience: How long to wait for what.
    """

    def __init__(self, *, on_change: Callable[[Change], None], patience: Patience = Patience()) -> None:
        self._on_change = on_change
        self._patience = patience
        self._guard = Guard()
        self._running: dict[str, PartProcess] = {}
        self._watchers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, part: Part) -> None:
        """Prepare and start a part and wait until it is ready; from then on it is restarted when it dies.

        Raises:
            StackError: It cannot be prepared or started, died, or was not ready in time.
        """
        asked = time.monotonic()
        self._on_change(Change(part, State.PREPARING))
        _set_aside(part.log_file)
        await asyncio.to_thread(part.prepare)
        await self._launch(part, asked)
        self._watchers.append(asyncio.create_task(self._keep_alive(part), name=f"keep {part.name} alive"))

    async def wait(self) -> None:
        """Return never, but raise when a part has died for good.

        Raises:
            StackError: With the end of that part's log.
        """
        await asyncio.gather(*self._watchers)

    def pids(self) -> dict[str, int]:
        """Process ids of the running parts, by name."""
        return {name: process.pid for name, process in self._running.items()}

    async def stop(self) -> None:
        """End all parts, last started first."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for process in reversed(self._running.values()):
            self._on_change(Change(process.part, State.STOPPING))
            await asyncio.to_thread(process.stop, patience=self._patience.stop)
            self._on_change(Change(process.part, State.STOPPED))
        self._running.clear()
        self._guard.close()

    async def _launch(self, part: Part, since: float) -> None:
        self._on_change(Change(part, State.STARTING))
        self._running.pop(part.name, None)
        process = self._running[part.name] = PartProcess(part, self._guard)
        deadline = time.monotonic() + self._patience.ready
        while not await part.is_ready():
            if (status := process.exit_status()) is not None:
                raise StackError(
                    f"{part.name} ended with status {status} before it was ready. {_log_of(process)}"
                )
            if time.monotonic() > deadline:
                raise StackError(
                    f"{part.name} was not ready after {self._patience.ready:.0f} seconds. {_log_of(process)}"
                )
            await asyncio.sleep(_POLL)
        self._on_change(Change(part, State.READY, time.monotonic() - since))

    async def _keep_alive(self, part: Part) -> None:
        quick_deaths = 0
        while True:
            started = time.monotonic()
            process = self._running[part.name]
            while (status := process.exit_status()) is None:  # noqa: ASYNC110 - a child is polled for
                await asyncio.sleep(_POLL)
            lived = time.monotonic() - started
            self._on_change(Change(part, State.DIED, lived, status))
            await asyncio.to_thread(process.kill)  # what it may have left of its group
            quick_deaths = quick_deaths + 1 if lived < self._patience.quick_death else 0
            await self._restart(part, quick_deaths)

    async def _restart(self, part: Part, quick_deaths: int) -> None:
        """Start a dead part again; a start that fails counts as one more quick death."""
        while True:
            if quick_deaths >= self._patience.quick_deaths:
                process = self._running[part.name]
                raise StackError(f"{part.name} died {quick_deaths} times in a row. {_log_of(process)}")
            await asyncio.sleep(self._patience.back_off * 2**quick_deaths)
            try:
                await self._launch(part, time.monotonic())
            except StackError:
                await asyncio.to_thread(self._running[part.name].kill)
                quick_deaths += 1
            else:
                return


def _set_aside(log_file: Path) -> None:
    """Keep the log of the stack's last run, and no more."""
    with suppress(FileNotFoundError):
        log_file.replace(log_file.with_suffix(".previous.log"))


def _log_of(process: PartProcess) -> str:
    return f"The end of its log ({process.part.log_file}):\n{process.log_tail()}"
