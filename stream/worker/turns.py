"""Turns of documents at the model: many together, or one alone."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager


class Turns:
    """A lock that many may hold together, or one alone, in the order in which they came.

    Used from one event loop.
    """

    def __init__(self) -> None:
        self._together = 0
        self._alone = False
        self._queue: deque[tuple[bool, asyncio.Future[None]]] = deque()

    def together(self) -> AbstractAsyncContextManager[None]:
        """Wait until nobody is alone, or waits for it since earlier."""
        return self._turn(alone=False)

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Wait until all who came earlier have ended."""
        return self._turn(alone=True)

    @asynccontextmanager
    async def _turn(self, *, alone: bool) -> AsyncIterator[None]:
        if self._queue or self._alone or (alone and self._together):
            await self._wait(alone=alone)
        else:
            self._begin(alone=alone)
        try:
            yield
        finally:
            self._leave(alone=alone)

    async def _wait(self, *, alone: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((alone, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._admit()  # it may have been the first of the queue
            else:
                self._leave(alone=alone)
            raise

    def _admit(self) -> None:
        while self._queue and not self._alone:
            alone, turn = self._queue[0]
            if not turn.cancelled():
                if alone and self._together:
                    return
                self._begin(alone=alone)
                turn.set_result(None)
            self._queue.popleft()

    def _begin(self, *, alone: bool) -> None:
        self._alone = alone
        self._together += not alone

    def _leave(self, *, alone: bool) -> None:
        if alone:
            self._alone = False
        else:
            self._together -= 1
        self._admit()
