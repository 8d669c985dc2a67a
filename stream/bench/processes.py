"""What programs take of the machine, read from Linux's /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

_PROCESSES = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program has taken so far; sums over programs are sums of each.

    Attributes:
        processor_seconds: Time on a core, in user and system mode together.
        resident_mb: Resident memory now, in MiB.
        peak_mb: The most it ever was.
    """

    processor_seconds: float = 0.0
    resident_mb: float = 0.0
    peak_mb: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.processor_seconds + other.processor_seconds,
            self.resident_mb + other.resident_mb,
            self.peak_mb + other.peak_mb,
        )


def usage(process: int) -> Usage | None:
    """What one process has taken; None where the system does not tell, or the process has ended."""
    folder = _PROCESSES / str(process)
    try:
        # The name, in brackets, may hold anything; what follows it are numbers (proc(5)).
        times = (folder / "stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return Usage(
            (int(times[11]) + int(times[12])) / _TICKS,
            _kb(status, "VmRSS") / 1024,
            _kb(status, "VmHWM") / 1024,
        )
    except OSError:
        return None


def usage_below(process: int) -> Usage | None:
    """What a process's descendants have taken, added up; None as ``usage``."""
    try:
        below = [usage(each) for each in _descendants(process)]
    except OSError:
        return None
    return sum((each for each in below if each is not None), Usage())


def _descendants(process: int) -> set[int]:
    below: set[int] = set()
    for tasks in (_PROCESSES / str(process) / "task").iterdir():
        children = {int(child) for child in (tasks / "children").read_text().split()}
        below |= children.union(*map(_descendants, children))
    return below


def _kb(status: dict[str, str], name: str) -> int:
    # A process that has ended and waits for its parent has no memory, and no such line.
    return int(status.get(name, "0").split()[0])
