"""A worker behind a slow link."""

from tests.delivery.fault_run import FaultRun
from tests.delivery.network.slow_link import SlowLink

_SECONDS = 10.0


async def inject(run: FaultRun) -> None:
    """Let a worker's connections carry 20 kB a second, each frame after 0.1 s."""
    worker = run.proxied
    await run.pause(1, 3)
    run.note("slow link", worker)
    async with run.proxy.under(SlowLink(latency=0.1, rate=20_000)):
        await run.pause(_SECONDS, _SECONDS)
    run.note("fast link", worker)
    await run.pause(1, 2)
