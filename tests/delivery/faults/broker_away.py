"""A broker that is killed with -9 and stays away."""

import asyncio

from tests.delivery.fault_run import FaultRun

_AWAY = 10.0


async def inject(run: FaultRun) -> None:
    """Kill the broker, and start it again ten seconds later."""
    await run.pause(1, 4)
    run.note("kill -9")
    await asyncio.to_thread(run.broker.kill)
    await asyncio.sleep(_AWAY)
    await asyncio.to_thread(run.broker.start)
    run.note("start")
