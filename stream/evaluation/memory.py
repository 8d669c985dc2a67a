"""How much memory a program and what it started have taken."""

from pathlib import Path

_PROCESSES = Path("/proc")


def peak_memory_mb(process: int, *, descendants: bool = True) -> float | None:
    """Peak resident memory of a process, in MiB; with descendants, each at its own peak, added up.

    None where the system does not tell (it is read from Linux's /proc), or the process has ended.
    """
    try:
        family = {process} | (_descendants(process) if descendants else set())
        return sum(_peak_kb(each) for each in family) / 1024
    except OSError:
        return None


def _descendants(process: int) -> set[int]:
    below: set[int] = set()
    for tasks in (_PROCESSES / str(process) / "task").iterdir():
        children = {int(child) for child in (tasks / "children").read_text().split()}
        below |= children.union(*map(_descendants, children))
    return below


def _peak_kb(process: int) -> int:
    for line in (_PROCESSES / str(process) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0
