"""Requests of transactions that the network holds, or doubles, until their producer's next transaction."""

import asyncio
import random
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from stream.local.ports import LOOPBACK
from tests.delivery.network.proxy import Link, OpenPassage
from tests.delivery.network.request_frame import Api, RequestFrame

_LENGTH = struct.Struct(">i")
_HELD = Api.END, Api.COMMIT_OFFSETS
_MOMENTS = Api.ADD_PARTITIONS, Api.ADD_OFFSETS, Api.PRODUCE, Api.COMMIT_OFFSETS, Api.END
_SHARE = 0.5


class Arrival(NamedTuple):
    """What came of a request that arrived late.

    Attributes:
        held: Request.
        way: ``lost`` where its connection broke instead, ``silent`` where nothing happened to its connection,
            ``doubled`` where it arrived in time, too.
        moment: Request of the next transaction before which it arrived; before ``ADD_PARTITIONS``, the first,
            the last transaction may not have its markers yet, and takes what was its own.
        code: Broker's answer, 0 where it took the request.
    """

    held: str
    way: str
    moment: str
    code: int


@dataclass
class _Late:
    frame: RequestFrame
    way: str
    moment: Api
    is_next: bool = False


class HeldRequests(OpenPassage):
    """Holds ends of transactions and commits of offsets, each until its producer is in the next transaction.

    The broker has answered all that the producer sent before a moment when the late request arrives.

    Args:
        chance: Decides which, until when, and in what way where several are given.
        broker_port: Port of the broker.
        ways: In what way each request is held, one after another.
    """

    def __init__(self, chance: random.Random, broker_port: int, ways: Iterable[str]) -> None:
        self._chance = chance
        self._broker_port = broker_port
        self._ways = [*ways]
        self._late: dict[str, _Late] = {}
        self.arrivals: Counter[Arrival] = Counter()
        self.finished = asyncio.Event()

    @property
    def left(self) -> int:
        """Number of requests that are still to be held."""
        return len(self._ways)

    async def request(self, link: Link, frame: RequestFrame) -> bool:
        """Hold a request, or let the one that is held arrive before it."""
        producer = frame.transactional_id
        if producer is None:
            return True
        late = self._late.get(producer)
        if late is None:
            if self._ways and frame.api in _HELD and self._chance.random() < _SHARE:
                return self._hold(producer, link, frame)
            return True
        late.is_next |= frame.api == Api.ADD_PARTITIONS
        if late.is_next and late.moment == frame.api:
            del self._late[producer]
            await self._arrive(late)
        return True

    def _hold(self, producer: str, link: Link, frame: RequestFrame) -> bool:
        way = self._ways.pop()
        self._late[producer] = _Late(frame, way, self._chance.choice(_MOMENTS))
        if way == "lost":
            link.reset()
        return way == "doubled"

    async def _arrive(self, late: _Late) -> None:
        code = _error_code(late.frame, await _answer(self._broker_port, late.frame))
        self.arrivals[Arrival(Api(late.frame.api).name, late.way, late.moment.name, code)] += 1
        if not self._ways and not self._late:
            self.finished.set()


async def _answer(port: int, frame: RequestFrame) -> bytes:
    """Let a request arrive over a connection of its own."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(_LENGTH.pack(len(frame.data)) + frame.data)
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return await reader.readexactly(length)
    finally:
        writer.close()


def _error_code(frame: RequestFrame, answer: bytes) -> int:
    """Error code of the answer to EndTxn, or to TxnOffsetCommit for one partition."""
    tags = int(frame.is_compact)  # an empty list of tags is one byte, behind each part
    at = 8 + tags if frame.api == Api.END else len(answer) - 2 - 3 * tags
    (code,) = struct.unpack_from(">h", answer, at)
    return int(code)
