"""A worker whose clock jumps: ahead, back, and so far ahead that Kafka refuses its messages."""

from tests.delivery.fault_run import FaultRun

# A topic takes timestamps up to an hour ahead (message.timestamp.after.max.ms).
_STEPS = 900.0, -900.0, 7200.0, 0.0


async def inject(run: FaultRun) -> None:
    """Set a worker's clock wrong three times, and right in the end."""
    worker = run.victim()
    for seconds in _STEPS:
        await run.pause(1, 3)
        run.step_clock(worker, seconds)
    await run.pause(1, 2)
