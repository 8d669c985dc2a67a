"""A worker and the broker that are killed with -9 shortly after one another."""

import asyncio

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Kill a worker, and then the broker while the group still waits for the worker."""
    await run.pause(1, 2)
    victim = run.victim()
    run.note("kill -9", victim)
    victim.kill()
    run.note("start", run.start_worker())
    await run.pause(1, 2)
    run.note("kill -9")
    await asyncio.to_thread(run.broker.kill)
    await asyncio.to_thread(run.broker.start)
    run.note("start")
