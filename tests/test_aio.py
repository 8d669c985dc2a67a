"""Awaiting many things at once."""

import asyncio

import pytest

from stream.aio import all_of


async def after(seconds, result):
    """A result, or the failure that it is, some time later."""
    await asyncio.sleep(seconds)
    if isinstance(result, Exception):
        raise result
    return result


async def test_tasks_results_come_in_order():
    """Results are in the order of the coroutines, not of their ends."""
    assert await all_of(after(0.02 / n, n) for n in (1, 2, 4)) == [1, 2, 4]


async def test_tasks_first_failure_comes_as_itself_and_ends_the_others():
    """A failure is raised ungrouped, also through two levels, with nothing left running."""
    before = asyncio.all_tasks()
    inner = all_of([after(0.001, LookupError("x")), after(60, 1)])
    with pytest.raises(LookupError):
        await all_of([inner, after(60, 2)])
    assert asyncio.all_tasks() == before
