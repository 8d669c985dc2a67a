"""A worker whose requests reach the broker no more, while all replies reach the worker."""

from tests.delivery.fault_run import FaultRun
from tests.delivery.network.isolation import Isolation


async def inject(run: FaultRun) -> None:
    """Hold a worker's requests until the group has given its partitions away."""
    await run.cut_off(Isolation(replies=False))
