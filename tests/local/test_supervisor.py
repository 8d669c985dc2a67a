"""The supervisor over real, small processes."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from stream.errors import StackError
from stream.local.supervisor import Patience, ServiceState, StateChange, Supervisor


@dataclass(frozen=True)
class Script:
    """A service that runs Python code; ready when that has created the file of its first argument."""

    name: str
    folder: Path
    code: str

    @property
    def log_file(self) -> Path:
        """Output."""
        return self.folder / f"{self.name}.log"

    @property
    def flag(self) -> Path:
        """The file whose existence says ready."""
        return self.folder / f"{self.name}.ready"

    def prepare(self) -> None:
        """Not ready any more."""
        self.flag.unlink(missing_ok=True)

    def command(self) -> list[str]:
        """The code under this Python."""
        return [sys.executable, "-u", "-c", self.code, str(self.flag)]

    def environment(self) -> dict[str, str]:
        """As it is."""
        return {}

    async def is_ready(self) -> bool:
        """Whether the flag is there."""
        return self.flag.exists()


STAY = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
"""Gets ready and stays."""

WITH_CHILD = (
    "import pathlib, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
    "time.sleep(600)"
)
"""Gets ready and stays, and has a child whose process id is in its flag file."""

FAIL = "import sys; print('no such luck'); sys.exit(3)"
"""Ends at once."""


QUICK = Patience(ready=5, stop=2, quick_death=5, quick_deaths=2, back_off=0.01)


def _supervisor(changes: list[StateChange], patience: Patience = QUICK) -> Supervisor:
    return Supervisor(on_change=changes.append, patience=patience)


async def _until(condition, *, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - processes are polled for
            await asyncio.sleep(0.02)


async def test_supervisor_stops_in_reverse_order_and_leaves_no_process(tmp_path):
    """Leaving it ends every service, the last started first."""
    changes = []
    async with _supervisor(changes) as supervisor:
        for name in ("first", "second"):
            await supervisor.start(Script(name, tmp_path, STAY))
        pids = supervisor.pids()
        assert all(map(psutil.pid_exists, pids.values()))
    assert not any(map(psutil.pid_exists, pids.values()))
    assert [each.service.name for each in changes if each.state is ServiceState.STOPPED] == [
        "second",
        "first",
    ]


async def test_supervisor_ends_what_a_part_has_started(tmp_path):
    """A service's own children end with it."""
    service = Script("parent", tmp_path, WITH_CHILD)
    async with _supervisor([]) as supervisor:
        await supervisor.start(service)
        child = int(service.flag.read_text())
        assert psutil.pid_exists(child)
    await _until(
        lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    )


async def test_supervisor_restarts_a_part_that_dies(tmp_path):
    """A killed service runs again under a new process id."""
    changes = []
    async with _supervisor(changes) as supervisor:
        await supervisor.start(Script("service", tmp_path, STAY))
        first = supervisor.pids()["service"]
        os.kill(first, signal.SIGKILL)
        await _until(
            lambda: supervisor.pids()["service"] != first and changes[-1].state is ServiceState.READY
        )
    died = next(each for each in changes if each.state is ServiceState.DIED)
    assert died.exit_status == -signal.SIGKILL


async def test_supervisor_gives_up_on_a_part_that_keeps_dying(tmp_path):
    """After repeated quick deaths `wait` raises with the end of the service's log."""
    once = f"import pathlib, sys, time\nif pathlib.Path(sys.argv[1]).exists():\n    {FAIL}\n{STAY}"
    async with _supervisor([]) as supervisor:
        await supervisor.start(Script("service", tmp_path, once))
        os.kill(supervisor.pids()["service"], signal.SIGKILL)
        with pytest.raises(StackError, match=r"service died 2 times in a row[\s\S]*no such luck") as raised:
            await asyncio.wait_for(supervisor.wait(), 10)
    assert str(tmp_path / "service.log") in str(raised.value)


async def test_supervisor_reports_a_part_that_does_not_start(tmp_path):
    """A service that ends before it is ready is an error with its status and the end of its log."""
    async with _supervisor([]) as supervisor:
        with pytest.raises(StackError, match=r"ended with status 3 before it was ready[\s\S]*no such luck"):
            await supervisor.start(Script("service", tmp_path, FAIL))


async def test_supervisor_shows_the_log_of_this_run_alone(tmp_path):
    """The end of the log is that of the failed run; the stack's last run is kept in a file of its own."""
    service = Script("service", tmp_path, FAIL)
    service.log_file.write_text("from the last run\n")
    async with _supervisor([]) as supervisor:
        with pytest.raises(StackError) as raised:
            await supervisor.start(service)
    assert str(raised.value).endswith("\nno such luck")
    assert (tmp_path / "service.previous.log").read_text() == "from the last run\n"


async def test_supervisor_does_not_wait_forever(tmp_path):
    """A service that never gets ready is an error, and is ended."""
    patience = Patience(ready=0.5, stop=2)
    async with _supervisor([], patience) as supervisor:
        with pytest.raises(StackError, match="not ready after"):
            await supervisor.start(Script("service", tmp_path, "import time; time.sleep(600)"))
        pid = supervisor.pids()["service"]
    assert not psutil.pid_exists(pid)


async def test_supervisor_kills_a_part_that_does_not_stop(tmp_path):
    """A service that ignores SIGTERM is ended all the same."""
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{STAY}"
    async with _supervisor([], Patience(stop=0.3)) as supervisor:
        await supervisor.start(Script("service", tmp_path, stubborn))
        pid = supervisor.pids()["service"]
    assert not psutil.pid_exists(pid)
