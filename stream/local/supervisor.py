"""Runs the services of the stack: starts them, restarts what dies, ends them all in reverse order."""

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
from stream.local.process import Service, ServiceProcess
from stream.local.reaper import Reaper

_POLL = 0.1


class ServiceState(StrEnum):
    """Life cycle of a service."""

    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StateChange:
    """A service's new state.

    Attributes:
        seconds: Time since the service was requested (READY), or its lifetime (DIED).
        exit_status: Of the process that died.
    """

    service: Service
    state: ServiceState
    seconds: float = 0.0
    exit_status: int | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """Time limits of the supervisor in seconds, and its number of tries.

    Attributes:
        ready: For a service to become ready.
        stop: For a service to end after SIGTERM.
        quick_death: A life shorter than this counts as a quick death.
        quick_deaths: Consecutive quick deaths after which the service is given up.
        back_off: Pause before the first restart; doubled after each quick death.
    """

    ready: float = 120.0
    stop: float = 30.0
    quick_death: float = 10.0
    quick_deaths: int = 4
    back_off: float = 0.5


class Supervisor:
    """Runs services; an async context manager that ends them when it is left, last started first.

    Args:
        on_change: Called at every change of a service's state.
        patience: Time limits.
    """

    def __init__(self, *, on_change: Callable[[StateChange], None], patience: Patience = Patience()) -> None:
        self._on_change = on_change
        self._patience = patience
        self._reaper = Reaper()
        self._running: dict[str, ServiceProcess] = {}
        self._watchers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, service: Service) -> None:
        """Prepare and start a service and wait until it is ready; after that it is restarted when it dies.

        Raises:
            StackError: It cannot be prepared or started, died, or was not ready in time.
        """
        asked = time.monotonic()
        self._on_change(StateChange(service, ServiceState.PREPARING))
        _set_aside(service.log_file)
        await asyncio.to_thread(service.prepare)
        await self._launch(service, asked)
        self._watchers.append(
            asyncio.create_task(self._keep_alive(service), name=f"keep {service.name} alive")
        )

    async def wait(self) -> None:
        """Block until a service fails permanently, then raise.

        Raises:
            StackError: With the end of that service's log.
        """
        await asyncio.gather(*self._watchers)

    def pids(self) -> dict[str, int]:
        """Process ids of the running services, by name."""
        return {name: process.pid for name, process in self._running.items()}

    async def stop(self) -> None:
        """End all services, last started first."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for process in reversed(self._running.values()):
            self._on_change(StateChange(process.service, ServiceState.STOPPING))
            await asyncio.to_thread(process.stop, patience=self._patience.stop)
            self._on_change(StateChange(process.service, ServiceState.STOPPED))
        self._running.clear()
        self._reaper.close()

    async def _launch(self, service: Service, since: float) -> None:
        self._on_change(StateChange(service, ServiceState.STARTING))
        self._running.pop(service.name, None)
        process = self._running[service.name] = ServiceProcess(service, self._reaper)
        deadline = time.monotonic() + self._patience.ready
        while not await service.is_ready():
            if (status := process.exit_status()) is not None:
                raise StackError(
                    f"{service.name} ended with status {status} before it was ready. {_log_of(process)}"
                )
            if time.monotonic() > deadline:
                limit = self._patience.ready
                raise StackError(
                    f"{service.name} was not ready after {limit:.0f} seconds. {_log_of(process)}"
                )
            await asyncio.sleep(_POLL)
        self._on_change(StateChange(service, ServiceState.READY, time.monotonic() - since))

    async def _keep_alive(self, service: Service) -> None:
        quick_deaths = 0
        while True:
            started = time.monotonic()
            process = self._running[service.name]
            while (status := process.exit_status()) is None:  # noqa: ASYNC110 - a child is polled for
                await asyncio.sleep(_POLL)
            lived = time.monotonic() - started
            self._on_change(StateChange(service, ServiceState.DIED, lived, status))
            await asyncio.to_thread(process.kill)  # the rest of its process group
            quick_deaths = quick_deaths + 1 if lived < self._patience.quick_death else 0
            await self._restart(service, quick_deaths)

    async def _restart(self, service: Service, quick_deaths: int) -> None:
        """Start a dead service again; a start that fails counts as one more quick death."""
        while True:
            if quick_deaths >= self._patience.quick_deaths:
                process = self._running[service.name]
                raise StackError(f"{service.name} died {quick_deaths} times in a row. {_log_of(process)}")
            await asyncio.sleep(self._patience.back_off * 2**quick_deaths)
            try:
                await self._launch(service, time.monotonic())
            except StackError:
                await asyncio.to_thread(self._running[service.name].kill)
                quick_deaths += 1
            else:
                return


def _set_aside(log_file: Path) -> None:
    """Keep the log of the previous run, and no older one."""
    with suppress(FileNotFoundError):
        log_file.replace(log_file.with_suffix(".previous.log"))


def _log_of(process: ServiceProcess) -> str:
    return f"The end of its log ({process.service.log_file}):\n{process.log_tail()}"
