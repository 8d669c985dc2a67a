"""Turns of documents at the model."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.worker.turns import Turns


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30), st.integers(0, 2**32))
def test_turns_alone_is_alone(visitors: list[tuple[bool, bool]], seed: int) -> None:
    """Whoever comes and is cancelled, nobody has a turn beside one who is alone, and all get theirs."""
    chance = random.Random(seed)

    async def run() -> None:
        turns = Turns()
        inside: list[bool] = []
        served = 0

        async def visit(alone: bool) -> None:  # noqa: FBT001 - a test's own
            nonlocal served
            async with turns.alone() if alone else turns.together():
                inside.append(alone)
                assert len(inside) == 1 or not any(inside)
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                    assert len(inside) == 1 or not any(inside)
                inside.remove(alone)
            served += 1

        tasks = []
        for alone, cancelled in visitors:
            tasks.append((asyncio.create_task(visit(alone)), cancelled))
            if chance.random() < 0.5:
                await asyncio.sleep(0)
        for task, cancelled in tasks:
            if cancelled and not inside:
                task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
            async with turns.alone():
                pass
        assert served >= sum(not cancelled for _, cancelled in visitors)
        failures = [task.exception() for task, _ in tasks if not task.cancelled()]
        assert not any(failures)

    asyncio.run(run())


async def test_turns_go_in_the_order_of_arrival() -> None:
    """One who waits to be alone is passed by nobody who came later."""
    turns = Turns()
    order: list[str] = []

    async def visit(name: str, *, alone: bool = False) -> None:
        async with turns.alone() if alone else turns.together():
            order.append(name)
            await asyncio.sleep(0.01)

    await asyncio.gather(visit("a"), visit("b"), visit("alone", alone=True), visit("c"))
    assert order == ["a", "b", "alone", "c"]


@pytest.mark.parametrize("alone", [True, False])
async def test_turns_of_one_who_fails_are_given_back(*, alone: bool) -> None:
    """A turn that ends with an error is over."""
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        async with turns.alone() if alone else turns.together():
            raise ZeroDivisionError
    async with asyncio.timeout(1), turns.alone():
        pass
