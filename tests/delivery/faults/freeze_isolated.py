"""A worker that is cut off and frozen between what it sent and the end of the transaction."""

import signal

from stream.settings import Delivery
from tests.delivery.fault_run import FaultRun
from tests.delivery.network.isolation import Isolation
from tests.delivery.network.request_frame import Api


async def inject(run: FaultRun) -> None:
    """Cut a worker off as it asks for the end (for acknowledgements at least once), freeze it, go on late."""
    frozen = run.proxied
    await run.pause(1, 3)
    exactly_once = run.bench.settings.delivery is Delivery.EXACTLY_ONCE
    isolation = Isolation(at={Api.END if exactly_once else Api.PRODUCE})
    async with run.proxy.under(isolation):
        await isolation.begun.wait()
        run.note("isolate and SIGSTOP", frozen)
        frozen.process.send_signal(signal.SIGSTOP)
        await run.outlast_session()
        run.note("SIGCONT", frozen)
        frozen.process.send_signal(signal.SIGCONT)
        await run.pause(1, 2)
    isolation.end()
    run.note("connect", frozen)
    await run.pause(2, 4)
