"""The reaper: nothing outlives the program that started it."""

import os
import signal
import subprocess
import sys
import time

import psutil

_OWNER = """
import subprocess, sys, time
from stream.local.reaper import Reaper
reaper = Reaper()
part = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
reaper.watch(part.pid)
print(part.pid, reaper._process.pid, flush=True)
time.sleep(600)
"""

_PART = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""


def _ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_guard_ends_groups_after_kill_9():
    """When the owner is killed with SIGKILL, its parts, their children and the reaper end."""
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, _PART], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for line in (owner.stdout.readline(), owner.stdout.readline()) for pid in line.split()]
    assert len(pids) == 3
    assert not any(map(_ended, pids))
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 10
    while not all(map(_ended, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
