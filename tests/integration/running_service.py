"""A service of the stack that a test starts, stops and kills.

Its methods block until the service is as they say; from an async test call them with ``asyncio.to_thread``.
"""

import asyncio
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from stream.local.process import Service, ServiceProcess
from stream.local.reaper import Reaper


class RunningService:
    """A service on ports, and with data, that it keeps over restarts.

    Attributes:
        patience: Seconds that it may take to serve.
    """

    patience = 180.0

    def __init__(self, service: Service, reaper: Reaper) -> None:
        self.service = service
        self._reaper = reaper
        self._process: ServiceProcess | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.service.prepare()
        self._process = process = ServiceProcess(self.service, self._reaper)
        deadline = time.monotonic() + self.patience
        while not _run(self.service.is_ready()):
            assert process.exit_status() is None, f"{self.service.name} ended: {process.log_tail()}"
            assert time.monotonic() < deadline, f"{self.service.name} is not ready: {process.log_tail()}"
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it in an orderly way."""
        if self._process is not None:
            self._process.stop(patience=20)
            self._process = None

    def kill(self) -> None:
        """Kill it at once (SIGKILL), with the processes it started."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def freeze(self) -> None:
        """Let it stand still (SIGSTOP), its connections open."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        os.killpg(self.pid, signal.SIGCONT)


def _run(awaitable) -> bool:
    """The awaitable's result, also where an event loop is running already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, awaitable).result()
