"""Peak memory of programs."""

import subprocess
import sys
from pathlib import Path

import pytest

from stream.evaluation.memory import peak_memory_mb

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="read from Linux's /proc")

HOLD = "x = bytearray(80 * 2**20); print('holding', flush=True); input()"
# A shell that stays: with one command alone it would become that command.
PARENT = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"]


def test_memory_counts_what_a_program_started():
    """A child's memory belongs to its parent's figure, unless descendants are left out."""
    with subprocess.Popen(PARENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        whole, alone = peak_memory_mb(parent.pid), peak_memory_mb(parent.pid, descendants=False)
        parent.communicate(b"\n")
    assert whole > 80 > alone > 0


def test_memory_of_an_ended_program_is_unknown():
    """A process that is gone has no figure."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert peak_memory_mb(ended.pid) is None
