"""A model server that is killed with -9 and stays away for a while."""

import asyncio

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Kill Triton twice, and start it again some seconds later."""
    for _ in range(2):
        await run.pause(1, 4)
        run.note("kill -9", to="triton")
        await asyncio.to_thread(run.triton.kill)
        await run.pause(1, 5)
        await asyncio.to_thread(run.triton.start)
        run.note("start", to="triton")
