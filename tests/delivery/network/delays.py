"""A network that is slow with certain requests and their replies alone."""

import asyncio
import random
from collections.abc import Collection

from tests.delivery.network.proxy import Link
from tests.delivery.network.request_frame import RequestFrame


class Delays:
    """Delays some requests and some replies, each up to so many seconds.

    Args:
        chance: Decides.
        apis: Keys of the requests.
        longest: Seconds.
    """

    def __init__(self, chance: random.Random, apis: Collection[int], longest: float) -> None:
        self._chance = chance
        self._apis = apis
        self._longest = longest

    async def request(self, link: Link, frame: RequestFrame) -> bool:
        """Delay a request."""
        await self._delay(frame)
        return True

    async def reply(self, link: Link, frame: RequestFrame, data: bytes) -> bool:
        """Delay a reply."""
        await self._delay(frame)
        return True

    async def _delay(self, frame: RequestFrame) -> None:
        if frame.api in self._apis and self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.uniform(0, self._longest))
