"""Kafka in memory: topics, partitions, and consumers with the methods of aiokafka's."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import ConsumerRecord

from stream.contract.record import Headers


class MemoryBroker:
    """Topics and the committed offsets of groups, for one event loop.

    Args:
        topics: Names of the topics; there are no others.
        partitions: Partitions of each.
    """

    def __init__(self, topics: Iterable[str], *, partitions: int) -> None:
        self._logs: dict[TopicPartition, list[ConsumerRecord]] = {
            TopicPartition(topic, number): [] for topic in topics for number in range(partitions)
        }
        self._partition_of = DefaultPartitioner()
        self._arrived = asyncio.Event()
        self.committed: dict[tuple[str, TopicPartition], int] = {}

    def partitions(self, topic: str) -> list[int]:
        """Numbers of a topic's partitions.

        Raises:
            ValueError: There is no such topic.
        """
        if found := [place.partition for place in self._logs if place.topic == topic]:
            return found
        known = ", ".join(sorted({place.topic for place in self._logs}))
        raise ValueError(f"there is no topic {topic}; there are {known}")

    def append(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> ConsumerRecord:
        """Store a record.

        Args:
            topic: Its topic.
            key: Its key.
            value: Its value; None is a tombstone.
            headers: Its headers.
            partition: Its partition; None chooses as aiokafka's producer does: by the key, or else at random.
            timestamp_ms: Milliseconds since the epoch; None is now.

        Raises:
            ValueError: There is no such topic or partition.
        """
        numbers = self.partitions(topic)
        number = self._partition_of(key, numbers, numbers) if partition is None else partition
        if number not in numbers:
            raise ValueError(f"topic {topic} has no partition {number}; there are 0 to {numbers[-1]}")
        log = self._logs[TopicPartition(topic, number)]
        record = ConsumerRecord(
            topic=topic,
            partition=number,
            offset=len(log),
            timestamp=time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms,
            timestamp_type=0,
            key=key,
            value=value,
            checksum=None,
            serialized_key_size=-1 if key is None else len(key),
            serialized_value_size=-1 if value is None else len(value),
            headers=headers,
        )
        log.append(record)
        self.wake()
        return record

    def records(self, place: TopicPartition, start: int) -> list[ConsumerRecord]:
        """Records of a partition from an offset on."""
        return self._logs[place][start:]

    async def wait(self) -> None:
        """Wait until a record is stored in any topic, or ``wake`` is called."""
        await self._arrived.wait()

    def wake(self) -> None:
        """End all waits: there may be something to read."""
        self._arrived.set()
        self._arrived = asyncio.Event()


class MemoryConsumer:
    """A consumer of all partitions of topics, with the methods of ``aiokafka.AIOKafkaConsumer`` that it has.

    It begins at the committed offsets of its group, or else at the beginning. The consumers of a group do not
    share the partitions: each has all.

    Args:
        broker: Has the topics.
        topics: Their names.
        group: Whose offsets ``commit`` stores; None has none.
    """

    def __init__(self, broker: MemoryBroker, *topics: str, group: str | None = None) -> None:
        self._broker = broker
        self._group = group
        self._positions = {
            TopicPartition(topic, number): 0 for topic in topics for number in broker.partitions(topic)
        }

    async def start(self) -> None:
        """Take up the committed offsets of the group."""
        for place in self._positions:
            self._positions[place] = await self.committed(place) or 0

    async def stop(self) -> None:
        """Do nothing: there is no connection to close."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ConsumerRecord:
        return await self.getone()

    def assignment(self) -> frozenset[TopicPartition]:
        """All partitions of its topics."""
        return frozenset(self._positions)

    async def getone(self, *partitions: TopicPartition) -> ConsumerRecord:
        """The next record; waits for it."""
        while not (found := self._take(partitions, 1)):
            await self._broker.wait()
        ((record,),) = found.values()
        return record

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """The next records by partition; waits so long for the first one."""
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while not (found := self._take(partitions, max_records)):
                    await self._broker.wait()
        except TimeoutError:
            return {}
        return found

    async def position(self, partition: TopicPartition) -> int:
        """Offset of the next record."""
        return self._positions[partition]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on with this offset."""
        self._positions[partition] = offset
        self._broker.wake()

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go back to the first record of these partitions, or of all."""
        for place in partitions or tuple(self._positions):
            self.seek(place, 0)

    async def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Pass over all records of these partitions, or of all."""
        for place in partitions or tuple(self._positions):
            self.seek(place, len(self._broker.records(place, 0)))

    async def committed(self, partition: TopicPartition) -> int | None:
        """Committed offset of the group; None where it has none."""
        return None if self._group is None else self._broker.committed.get((self._group, partition))

    async def commit(self, offsets: Mapping[TopicPartition, Any] | None = None) -> None:
        """Store offsets for the group; None stores all positions.

        Args:
            offsets: By partition: the offset, alone or in a tuple with metadata, which are not kept.

        Raises:
            aiokafka.errors.IllegalOperation: The consumer has no group.
        """
        if self._group is None:
            raise IllegalOperation("a consumer without a group commits nothing: name one with group=")
        for place, at in (self._positions if offsets is None else offsets).items():
            self._broker.committed[self._group, place] = at[0] if isinstance(at, tuple) else at

    def _take(
        self, partitions: Iterable[TopicPartition], most: int | None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Records at the positions, and move the positions behind them."""
        taken: dict[TopicPartition, list[ConsumerRecord]] = {}
        for place in partitions or tuple(self._positions):
            left = None if most is None else most - sum(map(len, taken.values()))
            if found := self._broker.records(place, self._positions[place])[:left]:
                taken[place] = found
                self._positions[place] += len(found)
        return taken
