"""Decoding of records whose header names are not UTF-8, which aiokafka refuses to fetch.

Kafka asks for UTF-8 and does not check it, so that one such record would end every consumer of its topic.
Written against aiokafka 0.14.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

_MAGIC_OF_HEADERS = 2


def decode_leniently() -> None:
    """Make every consumer of this process escape such bytes as surrogates (PEP 383) instead of failing."""
    fetcher.MemoryRecords = _FetchedRecords


class _FetchedRecords(_MemoryRecordsPy):  # type: ignore[misc]  # final for type checkers; aiokafka offers no seam
    """Batches of a fetch."""

    def next_batch(self) -> Any:
        piece = self._next_slice
        batch = super().next_batch()
        if batch is None or piece is None or batch.magic < _MAGIC_OF_HEADERS or batch.is_control_batch:
            return batch
        return _RecordBatch(batch, piece)


class _RecordBatch:
    """A batch that is decoded by aiokafka, and by itself where aiokafka fails."""

    def __init__(self, batch: Any, content: memoryview) -> None:
        self._batch = batch
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except (UnicodeDecodeError, CorruptRecordException):
            yield from _LenientRecordBatch(self._content)  # the fetcher skips the records that it has had


class _LenientRecordBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch whose header names may hold any bytes."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _LenientBytes(self._buffer)


class _LenientBytes(bytearray):
    """Bytes that decode to text whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _LenientBytes(found) if isinstance(index, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        return super().decode(encoding, errors)
