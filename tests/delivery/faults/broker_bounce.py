"""A broker that is killed with -9 and started again at once."""

import asyncio

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Kill the broker twice."""
    for _ in range(2):
        await run.pause(1, 4)
        run.note("kill -9")
        await asyncio.to_thread(run.broker.kill)
        await asyncio.to_thread(run.broker.start)
        run.note("start")
