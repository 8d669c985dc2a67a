"""A model that is unavailable again and again."""

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Take the model away three times, for some seconds each."""
    for _ in range(3):
        await run.pause(1, 3)
        run.note("model away")
        run.away.touch()
        await run.pause(1, 4)
        run.away.unlink()
        run.note("model back")
