"""The exactly-once worker's producer, which keeps a journal of its transactions."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.memory_records import MemoryRecords

from stream.contract.headers import read_dead_letter
from stream.worker.publisher import Outgoing
from stream.worker.transactional_producer import TransactionalProducer
from tests.delivery.history import (
    Ack,
    Assignment,
    Journal,
    Position,
    Send,
    TransactionEnd,
    content,
    now,
    transaction_name,
)


class RecordedProducer(TransactionalProducer):
    """Journals sends, acknowledgements and ends of transactions, and since when the partition is its own.

    Args:
        journal: The journal.
        name: Name of the worker in it.
        rest: As ``TransactionalProducer``.
    """

    def __init__(self, journal: Journal, name: str, *rest: Any) -> None:
        super().__init__(*rest)
        self._journal = journal
        self._name = name
        self._transaction = ""
        self._in_doubt: int | None = None
        self._asked = 0.0

    async def begin(self) -> int:
        """Journal how the transaction in doubt has ended, and the assignment as of the time of asking."""
        asked = now()
        stored = await super().begin()
        if self._in_doubt is not None:
            self._note_end(committed=stored == self._in_doubt)
            self._in_doubt = None
        lane = self._partition.topic, self._partition.partition
        self._journal.append(
            Assignment(
                process=self._name, time=asked, generation=self._membership.generation, partitions=(lane,)
            )
        )
        return stored

    async def commit(self, messages: Sequence[Outgoing], offset: int) -> None:
        """Name the transaction."""
        self._transaction = transaction_name(*self._identity, offset)
        self._in_doubt = offset
        self._asked = now()
        await super().commit(messages, offset)
        self._in_doubt = None

    async def _answer(self, node: int, request: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(request, ProduceRequest):
            return await super()._answer(node, request, *args, **options)
        sent = defaultdict(list)
        for topic, parts in request._topics:
            for partition, batch in parts:
                sent[topic, partition] = [*_records(batch)]
        for record in (record for records in sent.values() for record in records):
            self._note(Send, record)
        answer = await super()._answer(node, request, *args, **options)
        for topic, parts in answer.topics:
            for partition, code, first, *_ in parts:
                for record in sent[topic, partition] if code == 0 else ():
                    where = Position(topic, partition, first + record.offset)
                    self._note(Ack, record, position=where, content=content(record.value))
        return answer

    async def _end(self) -> None:
        self._asked = now()
        self._note_end(committed=None)
        await super()._end()
        self._note_end(committed=True)

    def _note_end(self, *, committed: bool | None) -> None:
        """Journal an end as of the time of asking: its outcomes may be seen before its answer comes."""
        self._journal.append(
            TransactionEnd(
                process=self._name, time=self._asked, transaction=self._transaction, committed=committed
            )
        )

    def _note(self, kind: type[Send] | type[Ack], record: Any, **more: Any) -> None:
        letter = read_dead_letter(record.headers)
        if letter is None:
            event = json.loads(record.value)
            message, source = event["event_id"], Position(*event["source"].values())
        else:
            message, source = "", Position(letter.topic, letter.partition, letter.offset)
        self._journal.append(
            kind(
                process=self._name,
                time=now(),
                message=message,
                source=source,
                transaction=self._transaction,
                **more,
            )
        )


def _records(batch: bytes) -> Iterator[Any]:
    """Records of a batch; their offsets count from 0."""
    batches = MemoryRecords(batch)
    while batches.has_next():
        yield from batches.next_batch()
