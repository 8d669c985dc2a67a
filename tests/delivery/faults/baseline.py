"""No fault: the run that all others are compared with."""

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Let it run."""
    await run.pause(1, 2)
