"""A worker that the network cuts off from the broker for longer than its session, in both directions."""

from tests.delivery.fault_run import FaultRun
from tests.delivery.network.isolation import Isolation


async def inject(run: FaultRun) -> None:
    """Cut a worker off until the group has given its partitions away; then all that was held arrives."""
    await run.cut_off(Isolation())
