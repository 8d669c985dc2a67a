"""Header names that are not UTF-8.

Kafka does not check a header's name, and aiokafka decodes it while it fetches: one bad name, and no record of
its batch reaches a consumer.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.legacy_records import _LegacyRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

_FIRST_WITH_HEADERS = 2


def accept_any_header_name() -> None:
    """Let all consumers of this process read such records.

    A byte that is not UTF-8 becomes a lone surrogate (PEP 383): ``name.encode()`` fails for such a name, and
    ``name.encode(errors="surrogateescape")`` returns its bytes.
    """
    fetcher.MemoryRecords = _Records


class _Records(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka is untyped here
    """The batches of a fetch. aiokafka's own Python decoder; its C twin cannot be told how to decode."""

    def next_batch(self) -> Any:
        content = self._next_slice
        self._cache_next()
        magic = content[self.MAGIC_OFFSET]
        return _Batch(content) if magic >= _FIRST_WITH_HEADERS else _LegacyRecordBatchPy(content, magic)


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc]
    _buffer: bytearray

    def __iter__(self) -> Iterator[Any]:
        records: Iterator[Any] = super().__iter__()
        self._buffer = _Buffer(self._buffer)
        return records


class _Buffer(bytearray):
    """Bytes of a batch; of their slices only header names are decoded."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return found if isinstance(found, int) else _Slice(found)


class _Slice(bytearray):
    def decode(self, encoding: str = "utf-8", _errors: str = "") -> str:
        return super().decode(encoding, "surrogateescape")
