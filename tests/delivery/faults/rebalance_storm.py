"""Workers that come and go every few seconds."""

import asyncio

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Start or end a worker six times."""
    for _ in range(6):
        await run.pause(1, 4)
        if len(run.alive()) < 2 or run.random.random() < 0.5:
            run.note("start", run.start_worker())
        else:
            victim = run.victim()
            run.note("SIGTERM", victim)
            await asyncio.to_thread(victim.terminate)
