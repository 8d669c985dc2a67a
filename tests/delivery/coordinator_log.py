"""Offsets that a consumer group has committed, from its coordinator's own log."""

import struct
from typing import Any

from aiokafka.consumer import fetcher

from tests.delivery.history import Commit, transaction_name

TOPIC = "__consumer_offsets"
_OFFSET_KEYS = (0, 1)  # versions of keys that name a committed offset


class BatchedRecords(fetcher.PartitionRecords):
    """Records of a fetch, each with the ``producer`` that its batch names: id and epoch, or None.

    aiokafka hands records on without it.
    """

    def __init__(self, tp: Any, records: Any, *rest: Any) -> None:
        super().__init__(tp, _NotedBatches(records), *rest)

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        made = super()._consumer_record(tp, record)
        batch = self._records.present
        made.producer = (batch.producer_id, batch.producer_epoch) if batch.is_transactional else None
        return made


# For the whole process: several runs may read at once.
fetcher.PartitionRecords = BatchedRecords


class _NotedBatches:
    """Batches of a fetch, with the one that was taken last."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self.present: Any = None

    def has_next(self) -> bool:
        """Whether there is another batch."""
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:
        """The next batch."""
        self.present = self._batches.next_batch()
        return self.present


def commit_of(record: Any, group: str) -> Commit | None:
    """The commit that a record of the log holds; None for all others.

    Args:
        record: A record of ``BatchedRecords``.
        group: The group whose commits are asked for.
    """
    if record.value is None:
        return None
    key = _Fields(record.key)
    if key.number(">h") not in _OFFSET_KEYS or key.text() != group:
        return None
    topic, partition = key.text(), key.number(">i")
    value = _Fields(record.value)
    value.number(">h")
    offset = value.number(">q")
    return Commit(
        process="broker",
        time=record.timestamp / 1000,
        topic=topic,
        partition=partition,
        offset=offset,
        transaction=transaction_name(*record.producer, offset) if record.producer else None,
    )


class _Fields:
    """Fields of a record, one after another."""

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
