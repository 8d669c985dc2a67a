"""Circuit breaker: after consecutive failures of a server, calls wait for the result of one probe call."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

import structlog

from stream.errors import (
    InferenceBusy,
    InferenceOutage,
    InferenceTimeout,
    InferenceUnavailable,
    InferenceUnclear,
)

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class BreakerState(StrEnum):
    """Closed: calls pass. Open: calls wait. Half-open: one call is the probe; the others wait for it."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class CircuitBreaker:
    """Circuit breaker for one server; used from one event loop.

    Concurrent calls fail in bursts for one cause, so not every failure counts. A broken connection fails all
    calls on it at once: a call that began before the last counted failure is not counted again. An overloaded
    server lets calls time out while it answers others: such a timeout is not counted.

    Args:
        name: The server's name in logs and messages.
        failures: Consecutive failures that open the breaker.
        pause: Seconds that it stays open before a probe.
        on_change: Called with every new state.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int,
        pause: float,
        on_change: Callable[[BreakerState], None] | None = None,
    ) -> None:
        self._name = name
        self._limit = failures
        self._pause = pause
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._failures = 0  # consecutive
        self._failing_since = 0.0
        self._answers = 0  # in total
        self._counted = 0  # failures in total
        self._probe_at = 0.0
        self._probe: asyncio.Future[bool] | None = None  # result: whether the probe failed

    @property
    def state(self) -> BreakerState:
        """Current state."""
        return self._state

    async def call(self, attempt: Callable[[], Awaitable[Answer]], *, waits: bool = True) -> Answer:
        """Make a call: at once while closed, otherwise as the probe or after a successful probe.

        InferenceUnavailable and InferenceTimeout count as failures of the server. InferenceUnclear counts as
        neither failure nor answer, unless the call is the probe. InferenceBusy and every other error count as
        answers.

        Args:
            attempt: Makes the call.
            waits: Whether it may wait for a probe, or be one; else it fails at once.

        Raises:
            InferenceOutage: This call was the probe, or waited for it, and the probe failed.
        """
        probe = await self._admission(waits=waits)
        answers, failures = self._answers, self._counted
        try:
            answer = await attempt()
        except asyncio.CancelledError:
            if probe:  # the next call becomes the probe
                self._change(BreakerState.OPEN)
            raise
        except BaseException as error:
            if not _is_failure(error):
                if probe or not isinstance(error, InferenceUnclear):
                    self._answered()
                raise
            slow = isinstance(error, InferenceTimeout)
            known = self._answers > answers if slow else self._counted > failures
            if probe or not known:
                self._failed(error, probe=probe)
            if probe:
                raise self._outage() from error
            raise
        else:
            self._answered()
            return answer
        finally:
            if probe and self._probe is not None:
                self._probe.set_result(self._state is BreakerState.OPEN and self._probe_at > time.monotonic())
                self._probe = None

    def blame(self, error: Exception) -> None:
        """Count an unclear refusal as a failure: another server has answered what this one refused."""
        self._failed(error, probe=False)

    async def _admission(self, *, waits: bool) -> bool:
        """Wait until the call may be made; True makes it the probe."""
        while self._state is not BreakerState.CLOSED:
            if not waits:
                raise self._outage()
            if self._probe is not None:
                if await asyncio.shield(self._probe):
                    raise self._outage()
            elif (pause := self._probe_at - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            else:
                self._probe = asyncio.get_running_loop().create_future()
                self._change(BreakerState.HALF_OPEN)
                return True
        return False

    def _outage(self) -> InferenceOutage:
        seconds = time.monotonic() - self._failing_since
        return InferenceOutage(f"{self._name} has not answered for {seconds:.1f} s; it is probed again")

    def _answered(self) -> None:
        self._answers += 1
        if self._state is not BreakerState.CLOSED:
            self._change(BreakerState.CLOSED)
        self._failures = 0

    def _failed(self, error: BaseException, *, probe: bool) -> None:
        if self._failures == 0:
            self._failing_since = time.monotonic()
        self._failures += 1
        self._counted += 1
        if probe or (self._state is BreakerState.CLOSED and self._failures >= self._limit):
            self._probe_at = time.monotonic() + self._pause
            self._change(BreakerState.OPEN, cause=str(error))

    def _change(self, state: BreakerState, **why: str) -> None:
        self._state = state
        log = _log.info if state is BreakerState.CLOSED else _log.warning
        log(
            f"circuit {state}",
            server=self._name,
            failures=self._failures,
            seconds=round(time.monotonic() - self._failing_since, 1),
            **why,
        )
        if self._on_change is not None:
            self._on_change(state)


def _is_failure(error: BaseException) -> bool:
    """Tell if an error is the server's: it was not there, failed or did not answer in time."""
    return isinstance(error, InferenceUnavailable | InferenceTimeout) and not isinstance(error, InferenceBusy)
