"""Connections that break before, in and behind what a worker publishes and commits."""

from tests.delivery.fault_run import FaultRun
from tests.delivery.network.breaks import Breaks
from tests.delivery.network.request_frame import TRANSACTIONAL, Api

_SECONDS = 8.0
_SHARE = 0.1


async def inject(run: FaultRun) -> None:
    """Break a worker's connections at a part of these requests, and of their replies."""
    worker = run.proxied
    await run.pause(1, 3)
    breaks = Breaks(run.random, {Api.PRODUCE, Api.COMMIT, *TRANSACTIONAL}, _SHARE)
    run.note("break connections", worker)
    async with run.proxy.under(breaks):
        await run.pause(_SECONDS, _SECONDS)
    run.note(f"{breaks.count} connections broken", worker)
    await run.pause(1, 2)
