"""Offsets of consumer groups as the coordinator's own log holds them."""

import struct
from typing import NamedTuple, Self

OFFSETS_TOPIC = "__consumer_offsets"
_OFFSET_KEYS = (0, 1)  # versions of keys that name a committed offset


class CommittedOffset(NamedTuple):
    """An offset that a group has committed."""

    group: str
    topic: str
    partition: int
    offset: int

    @classmethod
    def read(cls, key: bytes | None, value: bytes | None) -> Self | None:
        """The offset of a record of ``__consumer_offsets``; None where it holds something else."""
        if key is None or value is None:
            return None
        fields = _Fields(key)
        if fields.number(">h") not in _OFFSET_KEYS:
            return None
        group, topic, partition = fields.text(), fields.text(), fields.number(">i")
        (offset,) = struct.unpack_from(">q", value, 2)  # behind the version
        return cls(group, topic, partition, offset)


class _Fields:
    """Fields of a record of the coordinator's log, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str) -> int:
        """The next number."""
        (number,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(number)

    def text(self) -> str:
        """The next string, with its length before it."""
        length = self.number(">h")
        self._at += length
        return self._data[self._at - length : self._at].decode()
