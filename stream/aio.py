"""Coroutines run together, and the event loop that runs them."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


async def all_of(coroutines: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Run coroutines at once and return their results in order.

    When one fails, or the caller is cancelled, the others are cancelled and ended before this returns.

    Raises:
        Exception: The first failure, as itself and not in a group.
    """
    waiting = list(coroutines)
    if len(waiting) <= 1:
        return [await each for each in waiting]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in waiting]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def loop_factory() -> Any:
    """Uvloop's loop where it is installed: a fifth to a third faster than asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
