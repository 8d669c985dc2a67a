"""A network that carries nothing for a while, in one direction or in both."""

import asyncio
from collections.abc import Collection

from tests.delivery.network.proxy import Link
from tests.delivery.network.request_frame import RequestFrame


class Isolation:
    """Holds all requests, all replies, or both until it ends; then they arrive.

    Args:
        requests: Whether requests are held.
        replies: Whether replies are held.
        at: Keys of requests of which the first one begins the isolation, and is held; at once without any.
    """

    def __init__(self, *, requests: bool = True, replies: bool = True, at: Collection[int] = ()) -> None:
        self._requests = requests
        self._replies = replies
        self._at = at
        self._over = asyncio.Event()
        self.begun = asyncio.Event()
        if not at:
            self.begun.set()

    def end(self) -> None:
        """Let everything that was held arrive."""
        self._over.set()

    async def request(self, link: Link, frame: RequestFrame) -> bool:
        """Hold a request."""
        if frame.api in self._at:
            self.begun.set()
        if self._requests and self.begun.is_set():
            await self._over.wait()
        return True

    async def reply(self, link: Link, frame: RequestFrame, data: bytes) -> bool:
        """Hold a reply."""
        if self._replies and self.begun.is_set():
            await self._over.wait()
        return True
