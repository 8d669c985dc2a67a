"""Processor time and memory of programs."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream.bench.stack import Usage, usage, usage_below

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peaks are read from Linux's /proc"
)

HOLD = "x = bytearray(80 * 2**20); del x; y = bytearray(20 * 2**20); print('holding', flush=True); input()"
SPIN = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True); input()"


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has come to its only line of output, started by a shell that stays."""
    # With one command alone the shell would become that command.
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        parent.stdout.readline()
        yield parent
        parent.communicate(b"\n")


def test_stack_usage_separates_memory_now_from_the_peak():
    """Memory given back counts for the peak alone; a parent's own figure leaves its child out."""
    with running(HOLD) as parent:
        own, below = usage(parent.pid), usage_below(parent.pid)
    assert below.peak_mb > 80 > below.resident_mb > 20
    assert 0 < own.peak_mb < 80


def test_stack_usage_has_processor_time():
    """Half a second of work is half a second, wherever it was done."""
    with running(SPIN) as parent:
        own, below = usage(parent.pid), usage_below(parent.pid)
    assert own.processor_seconds < 0.4
    assert below.processor_seconds == pytest.approx(0.5, abs=0.15)


def test_stack_usage_of_an_ended_process_is_none():
    """An ended process has no usage, nor have its descendants."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert usage(ended.pid) is None
    assert usage_below(ended.pid) is None


def test_stack_usage_adds_up():
    """Sums are sums of each figure."""
    assert Usage(1, 2, 3) + Usage(10, 20, 30) == Usage(11, 22, 33)
