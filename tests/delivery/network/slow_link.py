"""A link of small bandwidth and long latency."""

import asyncio
from dataclasses import dataclass

from tests.delivery.network.proxy import Link
from tests.delivery.network.request_frame import RequestFrame


@dataclass(frozen=True)
class SlowLink:
    """Lets each connection carry so many bytes a second, each frame after some seconds.

    Attributes:
        latency: Seconds before a frame goes on.
        rate: Bytes a second and direction.
    """

    latency: float
    rate: float

    async def request(self, link: Link, frame: RequestFrame) -> bool:
        """Carry a request slowly."""
        await asyncio.sleep(self.latency + len(frame.data) / self.rate)
        return True

    async def reply(self, link: Link, frame: RequestFrame, data: bytes) -> bool:
        """Carry a reply slowly."""
        await asyncio.sleep(self.latency + len(data) / self.rate)
        return True
