"""The whole stack, running."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from stream.errors import PadellmError
from stream.stack.plan import Plan
from stream.stack.supervisor import Change, Supervisor

Result = TypeVar("Result")
MakeTopics = Callable[[], Awaitable[None]]


@asynccontextmanager
async def running(
    plan: Plan, *, make_topics: MakeTopics, on_change: Callable[[Change], None]
) -> AsyncIterator[Supervisor]:
    """The parts of a plan, all ready; they end when the context is left.

    Triton loads its model while Kafka starts; the worker starts when the topics are there.

    Args:
        plan: What to run.
        make_topics: Makes the topics that are not there; called when the broker is ready.
        on_change: Called at every change of a part's state.

    Raises:
        StackError: A part did not start; the others have been ended.
    """
    async with Supervisor(on_change=on_change) as supervisor:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_kafka_to_worker(plan, supervisor, make_topics))
                if plan.triton is not None:
                    group.create_task(supervisor.start(plan.triton))
        except* PadellmError as errors:
            raise errors.exceptions[0] from None
        yield supervisor


async def _kafka_to_worker(plan: Plan, supervisor: Supervisor, make_topics: MakeTopics) -> None:
    if plan.kafka is not None:
        await supervisor.start(plan.kafka)
    await make_topics()
    await supervisor.start(plan.worker)


async def while_running(supervisor: Supervisor, work: Coroutine[Any, Any, Result]) -> Result:
    """What ``work`` returns, unless a part dies for good before.

    Raises:
        StackError: A part has died for good.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(supervisor.wait())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not working.done():
            watching.result()
        return await working
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
