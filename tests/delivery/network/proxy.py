"""A TCP proxy before a broker, which may hold, slow, drop or break what passes."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol, Self

from stream.local.ports import LOOPBACK
from tests.delivery.network.request_frame import RequestFrame

_LENGTH = struct.Struct(">i")
_END_AT_ONCE = struct.pack("ii", 1, 0)


class Passage(Protocol):
    """Rule for frames, asked about each before it goes on; those behind it wait as long as it takes."""

    async def request(self, link: "Link", frame: RequestFrame) -> bool:
        """Return whether a request goes on to the broker."""
        ...

    async def reply(self, link: "Link", frame: RequestFrame, data: bytes) -> bool:
        """Return whether the reply to a request goes on to the client."""
        ...


class OpenPassage:
    """Lets everything pass; the base of rules that stop something."""

    async def request(self, link: "Link", frame: RequestFrame) -> bool:
        """Let it pass."""
        return True

    async def reply(self, link: "Link", frame: RequestFrame, data: bytes) -> bool:
        """Let it pass."""
        return True


class Link:
    """One connection of a client, and the one to the broker behind it.

    When the client goes, what it has sent and is still held here reaches the broker later, as bytes do that a
    network has on their way.
    """

    def __init__(self, client: "_Stream", broker: "_Stream", proxy: "KafkaProxy") -> None:
        self._client = client
        self._broker = broker
        self._proxy = proxy
        self._open: dict[int, RequestFrame] = {}

    async def carry(self) -> None:
        """Carry frames both ways until both ends are gone."""
        await asyncio.gather(self._carry_requests(), self._carry_replies())

    def send_part(self, frame: RequestFrame) -> None:
        """Send the first half of a request to the broker."""
        self._broker.write(_LENGTH.pack(len(frame.data)) + frame.data[: len(frame.data) // 2])

    def reset(self) -> None:
        """Break the client's connection; it cannot know what arrived of all it has sent."""
        self._client.reset()

    async def _carry_requests(self) -> None:
        while (data := await self._client.frame()) is not None:
            frame = RequestFrame(data)
            if await self._proxy.passage.request(self, frame):
                self._open[frame.correlation] = frame
                await self._broker.send(data)
        self._broker.close()

    async def _carry_replies(self) -> None:
        while (data := await self._broker.frame()) is not None:
            (correlation,) = _LENGTH.unpack_from(data)
            frame = self._open.pop(correlation)
            if await self._proxy.passage.reply(self, frame, data):
                await self._client.send(data)
        self._client.close()


class ProxiedBroker(Protocol):
    """Ports of a broker that a proxy stands before.

    Attributes:
        proxied_port: Port of the broker's listener.
        proxy_port: Port for clients, which that listener advertises.
    """

    proxied_port: int
    proxy_port: int


class KafkaProxy:
    """Passes connections on to a broker's listener, frame by frame.

    Args:
        broker: Knows the ports.
    """

    def __init__(self, broker: ProxiedBroker) -> None:
        self._port = broker.proxy_port
        self._broker_port = broker.proxied_port
        self._links: set[asyncio.Task[None]] = set()
        self.passage: Passage = OpenPassage()

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"{LOOPBACK}:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        await self._server.wait_closed()

    @asynccontextmanager
    async def under(self, passage: Passage) -> AsyncIterator[None]:
        """Ask a rule until the block ends."""
        before, self.passage = self.passage, passage
        try:
            yield
        finally:
            self.passage = before

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(self._serve(_Stream(reader, writer)))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _serve(self, client: "_Stream") -> None:
        try:
            broker = _Stream(*await asyncio.open_connection(LOOPBACK, self._broker_port))
        except OSError:  # as if nobody listened here
            client.reset()
        else:
            try:
                await Link(client, broker, self).carry()
            finally:
                client.close()
                broker.close()


class _Stream:
    """Frames of one connection: each a length of four bytes, and so many bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._broken = False

    async def frame(self) -> bytes | None:
        """The next frame without its length; None at the end."""
        if self._broken:
            return None
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def send(self, data: bytes) -> None:
        """Send a frame, unless the other side is gone."""
        self.write(_LENGTH.pack(len(data)) + data)
        with suppress(OSError):
            await self._writer.drain()

    def write(self, data: bytes) -> None:
        """Send bytes, unless the other side is gone."""
        if not self._writer.is_closing():
            self._writer.write(data)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    def reset(self) -> None:
        """Close the connection at once, with what has come and was not read; the other side gets an error."""
        self._broken = True
        with suppress(OSError):
            self._writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _END_AT_ONCE
            )
        self._writer.transport.abort()
