"""A worker that is frozen beyond its session, and wakes up in a group that all others have left."""

import asyncio
import signal

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Freeze a worker, end the others once they have taken over, and let it go on."""
    await run.pause(1, 4)
    frozen = run.victim()
    run.note("SIGSTOP", frozen)
    frozen.process.send_signal(signal.SIGSTOP)
    session = run.bench.settings.session_timeout
    await run.pause(session + 4, session + 8)
    for other in run.alive():
        if other is not frozen:
            run.note("SIGTERM", other)
            await asyncio.to_thread(other.terminate)
    run.note("SIGCONT", frozen)
    frozen.process.send_signal(signal.SIGCONT)
    await run.pause(2, 4)
