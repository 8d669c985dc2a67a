"""A network that carries nothing for a while, in one direction or in both."""

import asyncio

from tests.delivery.network.proxy import Link
from tests.delivery.network.request_frame import RequestFrame


class Isolation:
    """Holds all requests, all replies, or both until it ends; then they arrive.

    Args:
        requests: Whether requests are held.
        replies: Whether replies are held.
    """

    def __init__(self, *, requests: bool, replies: bool) -> None:
        self._over = asyncio.Event()
        self._requests = requests
        self._replies = replies

    def end(self) -> None:
        """Let everything that was held arrive."""
        self._over.set()

    async def request(self, link: Link, frame: RequestFrame) -> bool:
        """Hold a request."""
        if self._requests:
            await self._over.wait()
        return True

    async def reply(self, link: Link, frame: RequestFrame, data: bytes) -> bool:
        """Hold a reply."""
        if self._replies:
            await self._over.wait()
        return True
