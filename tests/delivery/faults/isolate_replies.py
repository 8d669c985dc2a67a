"""A worker that the broker hears, and that gets no reply."""

from tests.delivery.fault_run import FaultRun
from tests.delivery.network.isolation import Isolation


async def inject(run: FaultRun) -> None:
    """Hold the replies to a worker for longer than its session."""
    await run.cut_off(Isolation(requests=False))
