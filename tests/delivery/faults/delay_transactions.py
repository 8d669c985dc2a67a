"""Ends of transactions and commits of offsets that arrive late, and so do their answers."""

from tests.delivery.fault_run import FaultRun
from tests.delivery.network.delays import Delays
from tests.delivery.network.request_frame import Api

_SECONDS = 20.0
_LONGEST = 14.0  # a producer waits 10 s for an answer


async def inject(run: FaultRun) -> None:
    """Delay half of these requests and half of their replies, some beyond the producer's patience."""
    worker = run.proxied
    await run.pause(1, 3)
    run.note("delay ends and offsets", worker)
    delays = Delays(run.random, {Api.END, Api.COMMIT_OFFSETS, Api.COMMIT}, _LONGEST)
    async with run.proxy.under(delays):
        await run.pause(_SECONDS, _SECONDS)
    run.note("delay nothing", worker)
    await run.pause(1, 2)
