"""Connections that break when a certain request passes."""

import random
from collections.abc import Collection

from tests.delivery.network.proxy import Link, OpenPassage
from tests.delivery.network.request_frame import RequestFrame


class Breaks(OpenPassage):
    """Breaks the connection at some requests: before the request, in its midst, or before its reply.

    Args:
        chance: Decides at which requests, and where.
        apis: Keys of the requests.
        share: Share of the requests, and of the replies, that a connection breaks at.
    """

    def __init__(self, chance: random.Random, apis: Collection[int], share: float) -> None:
        self._chance = chance
        self._apis = apis
        self._share = share
        self.count = 0

    async def request(self, link: Link, frame: RequestFrame) -> bool:
        """Break before the request or in its midst."""
        if not self._falls_on(frame):
            return True
        if self._chance.random() < 0.5:
            link.send_part(frame)
        self._break(link)
        return False

    async def reply(self, link: Link, frame: RequestFrame, data: bytes) -> bool:
        """Break before the reply."""
        if not self._falls_on(frame):
            return True
        self._break(link)
        return False

    def _falls_on(self, frame: RequestFrame) -> bool:
        return frame.api in self._apis and self._chance.random() < self._share

    def _break(self, link: Link) -> None:
        self.count += 1
        link.reset()
