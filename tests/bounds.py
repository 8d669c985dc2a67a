"""Bounds of time and memory on one piece of work, for tests of hostile input."""

import ctypes
import gc
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_MEGABYTE = 1 << 20
_GIVE_UP_AFTER = 5  # times the bound: quadratic work ends here and not in hours


@dataclass
class Usage:
    """Time and memory of a piece of work; zero until it is over.

    Attributes:
        seconds: Processor seconds of this process, all threads: other programs cost none.
        megabytes: Peak of resident memory above that before the work.
    """

    seconds: float = 0.0
    megabytes: float = 0.0


@contextmanager
def bounded(*, seconds: float = 1.0, megabytes: float = 100.0) -> Iterator[Usage]:
    """Fail the test when the body takes longer or more memory than this.

    Make the input before entering, so that it is not counted. Main thread only.

    Args:
        seconds: Most processor seconds.
        megabytes: Most memory beyond what the process held before.
    """
    if sys.platform != "linux":
        pytest.skip("peak memory is read from /proc, which only Linux has")
    usage = Usage()
    _release_free_memory()
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # resets VmHWM, the peak, to the present
    memory, started = _resident("VmRSS"), time.process_time()
    usual = signal.signal(signal.SIGPROF, _give_up)
    signal.setitimer(signal.ITIMER_PROF, seconds * _GIVE_UP_AFTER)
    try:
        with _without_coverage():
            yield usage
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, usual)
    usage.seconds = time.process_time() - started
    usage.megabytes = (_resident("VmHWM") - memory) / _MEGABYTE
    assert usage.seconds <= seconds, f"took {usage.seconds:.2f} s; at most {seconds} s are allowed"
    assert usage.megabytes <= megabytes, f"took {usage.megabytes:.0f} MB; at most {megabytes} are allowed"


def fastest(work: Callable[[], object], tries: int = 7) -> float:
    """Processor seconds of the fastest of several tries of a piece of work.

    For bounds of milliseconds: another program on the same core slows one try down, hardly all of them.

    Args:
        work: Called once a try.
        tries: How often.
    """
    spent = []
    with _without_coverage():
        for _ in range(tries):
            started = time.process_time()
            work()
            spent.append(time.process_time() - started)
    return min(spent)


@contextmanager
def _without_coverage() -> Iterator[None]:
    """Pause coverage, which takes several times the time of the work that it watches."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def _give_up(_signal: int, _frame: object) -> None:
    pytest.fail(f"still busy after {_GIVE_UP_AFTER} times the allowed time")


def _release_free_memory() -> None:
    """Hand memory that earlier tests have freed back to the system: it would hide what the work takes."""
    gc.collect()
    with suppress(AttributeError, OSError):  # another C library has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def _resident(name: str) -> int:
    """Bytes that ``/proc/self/status`` has under a name."""
    status = Path("/proc/self/status").read_text("ascii")
    (kilobytes,) = re.findall(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024
