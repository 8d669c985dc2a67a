"""The proxy of the fault runs carries, holds, slows and breaks what passes it."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import NamedTuple

import pytest
from aiokafka.protocol.api import RequestHeader_v1, RequestHeader_v2
from aiokafka.protocol.transaction import EndTxnRequest_v0

from stream.local.ports import LOOPBACK, free_ports
from stream.worker.transaction_requests import EndTxnRequestV5
from tests.delivery.network.breaks import Breaks
from tests.delivery.network.isolation import Isolation
from tests.delivery.network.proxy import KafkaProxy
from tests.delivery.network.request_frame import Api, RequestFrame
from tests.delivery.network.slow_link import SlowLink

_LENGTH = struct.Struct(">i")
Ask = Callable[[int], Awaitable[bytes]]


class _Ports(NamedTuple):
    proxied_port: int
    proxy_port: int


def _end(correlation: int) -> bytes:
    request = EndTxnRequestV5("group/topic/0", 7, 1, True, {})
    return RequestHeader_v2(request, correlation, "client").encode() + request.encode()


def _old_end(correlation: int) -> bytes:
    request = EndTxnRequest_v0("group/topic/0", 7, 1, True)
    return RequestHeader_v1(request, correlation, "client").encode() + request.encode()


@asynccontextmanager
async def _network() -> AsyncIterator[tuple[KafkaProxy, list[bytes]]]:
    """A proxy before a server that answers each frame with its correlation id, and the frames it has got."""
    arrived: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(4))
                arrived.append(frame := await reader.readexactly(length))
                writer.write(_LENGTH.pack(8) + frame[4:8] + b"done")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    broker = _Ports(*free_ports(2))
    server = await asyncio.start_server(answer, LOOPBACK, broker.proxied_port)
    try:
        async with KafkaProxy(broker) as proxy:
            yield proxy, arrived
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def _client(proxy: KafkaProxy) -> AsyncIterator[Ask]:
    """Ask over one connection: send a request with a correlation id and return the reply."""
    reader, writer = await asyncio.open_connection(*proxy.bootstrap.split(":"))

    async def ask(correlation: int) -> bytes:
        data = _end(correlation)
        writer.write(_LENGTH.pack(len(data)) + data)
        (length,) = _LENGTH.unpack(await reader.readexactly(4))
        return await reader.readexactly(length)

    try:
        yield ask
    finally:
        writer.close()


@pytest.mark.parametrize("data", [_end(5), _old_end(5)])
def test_proxy_reads_a_request_of_any_form(data: bytes):
    """Key, correlation id and transactional id are read from compact requests and from old ones."""
    frame = RequestFrame(data)
    assert (frame.api, frame.correlation, frame.transactional_id) == (Api.END, 5, "group/topic/0")


async def test_proxy_carries_both_ways():
    """Requests arrive as they were sent, and each reply goes to its client."""
    async with _network() as (proxy, arrived), _client(proxy) as one, _client(proxy) as other:
        assert await one(1) == _LENGTH.pack(1) + b"done"
        assert await other(2) == _LENGTH.pack(2) + b"done"
        assert arrived == [_end(1), _end(2)]


@pytest.mark.parametrize(("requests", "replies"), [(True, False), (False, True), (True, True)])
async def test_proxy_isolates_until_the_end(*, requests: bool, replies: bool):
    """What is held in one direction or both passes once it ends, and not before."""
    isolation = Isolation(requests=requests, replies=replies)
    async with _network() as (proxy, arrived), _client(proxy) as ask, proxy.under(isolation):
        asked = asyncio.create_task(ask(1))
        assert not (await asyncio.wait({asked}, timeout=0.2))[0]
        assert arrived == ([] if requests else [_end(1)])
        isolation.end()
        assert await asked == _LENGTH.pack(1) + b"done"


async def test_proxy_lets_arrive_what_a_client_left_behind():
    """A request that is held reaches the broker although its client has gone meanwhile."""
    isolation = Isolation(requests=True, replies=False)
    async with _network() as (proxy, arrived), proxy.under(isolation):
        async with _client(proxy) as ask:
            asked = asyncio.create_task(ask(1))
            await asyncio.wait({asked}, timeout=0.1)
            asked.cancel()
        isolation.end()
        async with asyncio.timeout(5):
            while not arrived:  # noqa: ASYNC110 - another task
                await asyncio.sleep(0.01)
    assert arrived == [_end(1)]


async def test_proxy_breaks_connections():
    """Connections break before, in and behind a request: some of what got no answer has arrived, not all."""
    breaks = Breaks(Random(1), {Api.END}, 0.5)
    async with _network() as (proxy, arrived), proxy.under(breaks):
        answers = []
        for number in range(20):
            async with _client(proxy) as ask:
                answers += await asyncio.gather(ask(number), return_exceptions=True)
    broken = [each for each in answers if isinstance(each, OSError | EOFError)]
    assert len(broken) == breaks.count
    answered = len(answers) - len(broken)
    assert answered < len(arrived) < len(answers)


async def test_proxy_slows_a_link():
    """A frame takes its latency and its bytes both ways."""
    async with _network() as (proxy, _), _client(proxy) as ask, proxy.under(SlowLink(latency=0.1, rate=1e6)):
        began = time.monotonic()
        await ask(1)
        assert time.monotonic() - began >= 0.2
