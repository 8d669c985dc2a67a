"""Ends the services of the stack when the program that started them is gone, even after ``kill -9``.

A small process in a session of its own reads the process groups to watch from a pipe. When the owner ends,
the pipe ends, and the process ends the groups. Run as a script, this file is that process; it imports nothing
of the package, so that it starts at once.
"""

import os
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

_PATIENCE = 5.0  # seconds between SIGTERM and SIGKILL


class Reaper:
    """The owner's end of the pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """End this process group if this program dies."""
        self._write(f"+{group}\n")

    def forget(self, group: int) -> None:
        """The group has ended; its number may now be another's."""
        self._write(f"-{group}\n")

    def close(self) -> None:
        """End the groups that are still watched, and the reaper."""
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: str) -> None:
        pipe = self._process.stdin
        if pipe is not None:
            pipe.write(line.encode())
            pipe.flush()


def _main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    while _signal(groups, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(groups, signal.SIGKILL)


def _signal(groups: set[int], number: int) -> bool:
    """Signal the groups; true if any still had a process."""
    alive = False
    for group in groups:
        try:
            os.killpg(group, number)
            alive = True
        except OSError:
            continue
    return alive


if __name__ == "__main__":
    _main()
