"""A worker that is frozen until the group has given its partitions away, and then wakes up."""

import signal

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Freeze a worker for longer than its session, while the others go on."""
    await run.pause(1, 4)
    frozen = run.victim()
    run.note("SIGSTOP", frozen)
    frozen.process.send_signal(signal.SIGSTOP)
    session = run.bench.settings.session_timeout
    await run.pause(session + 4, session + 8)
    run.note("SIGCONT", frozen)
    frozen.process.send_signal(signal.SIGCONT)
    await run.pause(2, 4)
