"""The circuit breaker's promises."""

import asyncio
import time

import pytest

from stream.errors import (
    InferenceBusy,
    InferenceOutage,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
    InferenceUnclear,
)
from stream.inference.breaker import BreakerState, CircuitBreaker

_PAUSE = 0.05


@pytest.fixture
def changes() -> list[BreakerState]:
    """The states it told of."""
    return []


@pytest.fixture
def breaker(changes: list[BreakerState]) -> CircuitBreaker:
    """A breaker that opens after three failures, for a moment."""
    return CircuitBreaker("the server", failures=3, pause=_PAUSE, on_change=changes.append)


async def _call(breaker: CircuitBreaker, error: Exception | None = None, *, seconds: float = 0.0) -> str:
    async def attempt() -> str:
        await asyncio.sleep(seconds)
        if error is not None:
            raise error
        return "answer"

    return await breaker.call(attempt)


async def _fail(breaker: CircuitBreaker, times: int = 3) -> None:
    for _ in range(times):
        with pytest.raises(InferenceUnavailable):
            await _call(breaker, InferenceUnavailable("down"))


@pytest.mark.parametrize("error", [InferenceUnavailable("down"), InferenceTimeout("late")])
async def test_breaker_opens_after_failures_in_a_row(breaker: CircuitBreaker, error: Exception) -> None:
    """The configured number of consecutive failures opens it, and one fewer does not."""
    for _ in range(2):
        with pytest.raises(type(error)):
            await _call(breaker, error)
    assert breaker.state is BreakerState.CLOSED
    with pytest.raises(type(error)):
        await _call(breaker, error)
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize("error", [None, InferenceBusy("full"), InferenceRejected("bad")])
async def test_breaker_counts_any_answer_as_life(breaker: CircuitBreaker, error: Exception | None) -> None:
    """An answer, a full queue or a refusal in between starts the count of failures anew."""
    await _fail(breaker, 2)
    await asyncio.gather(_call(breaker, error), return_exceptions=True)
    await _fail(breaker, 2)
    assert breaker.state is BreakerState.CLOSED


async def test_breaker_holds_calls_back_until_its_probe_came_through(
    breaker: CircuitBreaker, changes: list[BreakerState]
) -> None:
    """While open, one call goes out after the pause, and the others follow once it is answered."""
    await _fail(breaker)
    running = most = 0

    async def attempt() -> str:
        nonlocal running, most
        running += 1
        if breaker.state is not BreakerState.CLOSED:
            most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return "answer"

    started = time.monotonic()
    assert await asyncio.gather(*(breaker.call(attempt) for _ in range(20))) == ["answer"] * 20
    assert most == 1
    assert time.monotonic() - started >= _PAUSE
    assert changes == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


async def test_breaker_gives_up_the_calls_that_waited_for_a_failed_probe(
    breaker: CircuitBreaker, changes: list[BreakerState]
) -> None:
    """When the probe fails, it and all that waited for it raise an outage, and none but it went out."""
    await _fail(breaker)
    outcomes = await asyncio.gather(
        *(_call(breaker, InferenceUnavailable("still down")) for _ in range(5)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {InferenceOutage}
    assert changes == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.OPEN]


async def test_breaker_passes_the_turn_of_a_cancelled_probe_on(breaker: CircuitBreaker) -> None:
    """A probe that is cancelled hands its turn to the next call."""
    await _fail(breaker)
    probe = asyncio.create_task(_call(breaker, seconds=60))
    await asyncio.sleep(2 * _PAUSE)
    assert breaker.state is BreakerState.HALF_OPEN
    waiting = asyncio.create_task(_call(breaker))
    await asyncio.sleep(0)
    probe.cancel()
    assert await asyncio.wait_for(waiting, 1) == "answer"
    assert breaker.state is BreakerState.CLOSED


async def test_breaker_outlives_cancelled_waiters(breaker: CircuitBreaker) -> None:
    """Calls cancelled while they wait leave the probe and the others alone."""
    await _fail(breaker)
    probe = asyncio.create_task(_call(breaker, seconds=3 * _PAUSE))
    await asyncio.sleep(2 * _PAUSE)
    waiting = [asyncio.create_task(_call(breaker)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert await asyncio.gather(probe, *waiting[1:]) == ["answer"] * 3


async def test_breaker_takes_calls_that_fail_together_for_one_failure(breaker: CircuitBreaker) -> None:
    """A broken connection fails all calls on it: the first of them counts, and no other one."""
    calls = (_call(breaker, InferenceUnavailable("broken"), seconds=0.01) for _ in range(50))
    await asyncio.gather(*calls, return_exceptions=True)
    assert breaker.state is BreakerState.CLOSED
    await _fail(breaker, 2)
    assert breaker.state is BreakerState.OPEN


async def test_breaker_takes_a_server_that_answers_others_for_slow(breaker: CircuitBreaker) -> None:
    """Calls that time out while others are answered do not open it; those that began after that answer do."""
    late = [asyncio.create_task(_call(breaker, InferenceTimeout("late"), seconds=0.02)) for _ in range(10)]
    await asyncio.sleep(0)
    await _call(breaker)
    await asyncio.gather(*late, return_exceptions=True)
    assert breaker.state is BreakerState.CLOSED
    hanging = (_call(breaker, InferenceTimeout("late"), seconds=0.02) for _ in range(3))
    await asyncio.gather(*hanging, return_exceptions=True)
    assert breaker.state is BreakerState.OPEN


async def test_breaker_is_not_moved_by_stragglers(breaker: CircuitBreaker) -> None:
    """Calls from before it opened that fail late neither prolong the pause nor decide for the probe."""
    late = [
        asyncio.create_task(_call(breaker, InferenceUnavailable("late"), seconds=1.5 * _PAUSE))
        for _ in range(5)
    ]
    await asyncio.sleep(0)
    await _fail(breaker)
    assert await asyncio.wait_for(_call(breaker, seconds=2 * _PAUSE), 1) == "answer"
    await asyncio.gather(*late, return_exceptions=True)
    assert breaker.state is BreakerState.CLOSED


async def test_breaker_takes_an_unclear_refusal_for_neither_failure_nor_answer(
    breaker: CircuitBreaker,
) -> None:
    """Failures on both sides of a refusal that may be the server's fault are failures in a row."""
    await _fail(breaker, 2)
    with pytest.raises(InferenceUnclear):
        await _call(breaker, InferenceUnclear("what?"))
    await _fail(breaker, 1)
    assert breaker.state is BreakerState.OPEN
