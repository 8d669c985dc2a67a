"""Workers that are killed with -9, each replaced at once."""

from tests.delivery.fault_run import FaultRun


async def inject(run: FaultRun) -> None:
    """Kill two workers, one after the other."""
    for _ in range(2):
        await run.pause(1, 4)
        victim = run.victim()
        run.note("kill -9", victim)
        victim.kill()
        await run.start_worker().is_ready()
