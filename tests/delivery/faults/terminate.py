"""Workers that are asked to end, each replaced at once."""

import asyncio

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """End two workers in an orderly way, one after the other."""
    for _ in range(2):
        await run.pause(1, 4)
        victim = run.victim()
        run.note("SIGTERM", victim)
        status = await asyncio.to_thread(victim.terminate)
        assert status == 0, f"exit status {status} after SIGTERM"
        await run.start_worker().is_ready()
