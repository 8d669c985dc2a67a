"""A model server that hangs: it takes requests and answers none, for longer than a call may last."""

import os
import signal

from tests.delivery.fault_run import FaultRun

_HANGS = 40.0  # a call lasts 30 s at the most


async def inject(run: FaultRun) -> None:
    """Freeze Triton until calls have timed out."""
    await run.pause(1, 4)
    run.note("SIGSTOP", to="triton")
    os.kill(run.triton.pid, signal.SIGSTOP)
    await run.pause(_HANGS, _HANGS + 5)
    os.kill(run.triton.pid, signal.SIGCONT)
    run.note("SIGCONT", to="triton")
    await run.pause(1, 2)
