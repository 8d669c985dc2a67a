"""A circuit breaker: when a server has failed often enough in a row, calls wait for one probe of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

import structlog

from stream.errors import InferenceBusy, InferenceOutage, InferenceTimeout, InferenceUnavailable

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class BreakerState(StrEnum):
    """Closed: calls pass. Open: calls wait. Half-open: one call, the probe, is out; others wait for it."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class CircuitBreaker:
    """Guards one server; used from one event loop.

    Calls in flight fail in bursts for one cause, so not every failure counts. A broken connection fails all
    calls on it at once: those that began before the last counted failure tell nothing new. A server with too
    much to do lets calls run into their deadline while it answers others: that is no failure of the server.

    Args:
        name: The server, for logs and messages.
        failures: Consecutive failures that open it.
        pause: Seconds it stays open before a probe.
        on_change: Told every new state.
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
        self._failures = 0  # in a row
        self._failing_since = 0.0
        self._answers = 0  # ever
        self._counted = 0  # failures, ever
        self._probe_at = 0.0
        self._probe: asyncio.Future[bool] | None = None  # its result: whether the server failed it

    @property
    def state(self) -> BreakerState:
        """Where it stands."""
        return self._state

    async def call(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a call: at once while closed, else as the probe, or once the probe came through.

        One that raises InferenceUnavailable or InferenceTimeout has met a server that failed; one that raises
        InferenceBusy, or any other error of ours, has met a server that answers.

        Raises:
            InferenceOutage: This call was the probe, or waited for it, and the server failed it.
        """
        probe = await self._admission()
        answers, failures = self._answers, self._counted
        try:
            answer = await attempt()
        except asyncio.CancelledError:
            if probe:  # the next call takes its turn
                self._change(BreakerState.OPEN)
            raise
        except InferenceBusy:
            self._answered()
            raise
        except (InferenceUnavailable, InferenceTimeout) as error:
            slow = isinstance(error, InferenceTimeout)
            known = self._answers > answers if slow else self._counted > failures
            if probe or not known:
                self._failed(error, probe=probe)
            if probe:
                raise self._outage() from error
            raise
        except BaseException:
            self._answered()
            raise
        else:
            self._answered()
            return answer
        finally:
            if probe and self._probe is not None:
                self._probe.set_result(self._state is BreakerState.OPEN and self._probe_at > time.monotonic())
                self._probe = None

    async def _admission(self) -> bool:
        """Whether the call that may go now is the probe."""
        while self._state is not BreakerState.CLOSED:
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
        return InferenceOutage(f"{self._name} has not answered for {seconds:.1f} s; it is tried again")

    def _answered(self) -> None:
        self._answers += 1
        if self._state is not BreakerState.CLOSED:
            self._change(BreakerState.CLOSED)
        self._failures = 0

    def _failed(self, error: Exception, *, probe: bool) -> None:
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
