"""A request to a broker as it stands on the wire, read just far enough to tell which it is.

Layouts: https://kafka.apache.org/43/protocol.html#protocol_messages
"""

import struct
from dataclasses import dataclass
from enum import IntEnum


class Api(IntEnum):
    """Requests of a worker that move something, by their key."""

    PRODUCE = 0
    COMMIT = 8
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS = 24
    ADD_OFFSETS = 25
    END = 26
    COMMIT_OFFSETS = 28


TRANSACTIONAL = frozenset(
    {Api.INIT_PRODUCER_ID, Api.ADD_PARTITIONS, Api.ADD_OFFSETS, Api.END, Api.COMMIT_OFFSETS}
)
# All of these begin with the transactional id. From these versions on strings are compact, and tags follow.
_COMPACT_FROM = {
    Api.PRODUCE: 9,
    Api.INIT_PRODUCER_ID: 2,
    Api.ADD_PARTITIONS: 3,
    Api.ADD_OFFSETS: 3,
    Api.END: 3,
    Api.COMMIT_OFFSETS: 3,
}


@dataclass(frozen=True)
class RequestFrame:
    """One request.

    Attributes:
        data: Its bytes, without the length before them.
    """

    data: bytes

    @property
    def api(self) -> int:
        """Key of the request, a number of ``Api`` or another."""
        return self._header[0]

    @property
    def correlation(self) -> int:
        """Number that its reply bears on the same connection."""
        return self._header[2]

    @property
    def transactional_id(self) -> str | None:
        """Id of the producer; None where the request belongs to no transaction."""
        api, _, _, client = self._header
        if api not in _COMPACT_FROM:
            return None
        at = 10 + max(client, 0)
        if self.is_compact:
            length = self.data[at + 1] - 1  # behind an empty list of tags; ids are shorter than 127 bytes
            at += 2
        else:
            (length,) = struct.unpack_from(">h", self.data, at)
            at += 2
        return self.data[at : at + length].decode() if length >= 0 else None

    @property
    def is_compact(self) -> bool:
        """Whether strings are compact in it and in its reply, and tags follow the headers."""
        api, version, _, _ = self._header
        return api in _COMPACT_FROM and version >= _COMPACT_FROM[Api(api)]

    @property
    def _header(self) -> tuple[int, int, int, int]:
        """Key, version, correlation id, and length of the client's name."""
        return struct.unpack_from(">hhih", self.data)
