"""Transactions as a broker's logs hold them: outcomes, offsets, and the markers that ended them."""

import json
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

from stream.contract.headers import read_dead_letter
from stream.settings import Settings
from tests.delivery import coordinator_log
from tests.delivery.history import Commit

_MOST = 8 * 1024 * 1024


@dataclass
class LoggedTransaction:
    """One transaction: all that one epoch of one producer wrote.

    With ``transaction.version=2`` each transaction has an epoch of its own.

    Attributes:
        outcomes: Partition and offset of the document of each outcome.
        offsets: Partition and offset of each commit.
        ends: Whether each partition that it wrote to had it committed; None while it is open there.
    """

    outcomes: list[tuple[int, int]] = field(default_factory=list)
    offsets: list[tuple[int, int]] = field(default_factory=list)
    ends: dict[tuple[str, int], bool | None] = field(default_factory=dict)

    @property
    def is_torn(self) -> bool:
        """Whether one part of it took effect, and another did not."""
        ends = {*self.ends.values()}
        if len(ends) > 1:
            return True
        # A doubled commit of the same offset does no harm.
        behind = max(((partition, offset + 1) for partition, offset in self.outcomes), default=None)
        return ends == {True} and {*self.offsets} != {behind}

    @property
    def is_open(self) -> bool:
        """Whether no marker has ended it somewhere."""
        return None in self.ends.values()

    @property
    def is_committed(self) -> bool:
        """Whether all of it took effect."""
        return {*self.ends.values()} == {True}


@dataclass
class TransactionLog:
    """All transactions of a group's workers, and the offsets that they committed.

    Attributes:
        transactions: By producer id and epoch.
        commits: Offsets that took effect, by partition of the documents topic, in the order of the log.
    """

    transactions: dict[tuple[int, int], LoggedTransaction]
    commits: dict[int, list[int]]

    @classmethod
    async def read(cls, settings: Settings) -> "TransactionLog":
        """Read the logs from their starts to their present ends."""
        transactions: defaultdict[tuple[int, int], LoggedTransaction] = defaultdict(LoggedTransaction)
        commits: defaultdict[int, list[int]] = defaultdict(list)
        client = AIOKafkaClient(bootstrap_servers=settings.broker)
        await client.bootstrap()
        try:
            for topic in (settings.entities_topic, settings.dead_letters_topic, coordinator_log.TOPIC):
                for partition in sorted(await client._wait_on_metadata(topic)):
                    await _read_partition(client, settings, (topic, partition), transactions, commits)
        finally:
            await client.close()
        return cls(dict(transactions), dict(commits))

    @property
    def torn(self) -> int:
        """Number of transactions that took effect in part."""
        return sum(each.is_torn for each in self.transactions.values())

    @property
    def open(self) -> int:
        """Number of transactions that nothing has ended."""
        return sum(each.is_open for each in self.transactions.values())

    @property
    def back(self) -> int:
        """Number of commits of an offset lower than the one before it."""
        return sum(
            later < earlier for offsets in self.commits.values() for earlier, later in pairwise(offsets)
        )


async def _read_partition(
    client: AIOKafkaClient,
    settings: Settings,
    place: tuple[str, int],
    transactions: defaultdict[tuple[int, int], LoggedTransaction],
    commits: defaultdict[int, list[int]],
) -> None:
    """Enter what a partition holds; an offset counts when its transaction's marker comes."""
    pending: dict[int, list[tuple[tuple[int, int], list[Commit]]]] = defaultdict(list)
    async for batch in _batches(client, place):
        records = [*batch]
        if batch.is_control_batch:
            (committed,) = struct.unpack_from(">xxh", records[0].key)
            for name, offsets in pending.pop(batch.producer_id, ()):
                transactions[name].ends[place] = bool(committed)
                for each in offsets if committed else ():
                    commits[each.partition].append(each.offset)
            continue
        offsets = [
            commit
            for record in records
            if place[0] == coordinator_log.TOPIC
            and (commit := coordinator_log.commit_of(_stored(record), settings.group)) is not None
        ]
        if not batch.is_transactional:
            for each in offsets:
                commits[each.partition].append(each.offset)
            continue
        if place[0] == coordinator_log.TOPIC and not offsets:  # another group's
            continue
        name = batch.producer_id, batch.producer_epoch
        transaction = transactions[name]
        transaction.ends[place] = None
        transaction.offsets += [(each.partition, each.offset) for each in offsets]
        if place[0] != coordinator_log.TOPIC:
            transaction.outcomes += [_source(place[0], record, settings) for record in records]
        pending[batch.producer_id].append((name, offsets))


def _stored(record: Any) -> Any:
    """A record of a raw batch as the coordinator's log is read: here its batch is known."""
    return SimpleNamespace(key=record.key, value=record.value, timestamp=record.timestamp, producer=None)


def _source(topic: str, record: Any, settings: Settings) -> tuple[int, int]:
    """Partition and offset of the document that an outcome answers."""
    if topic == settings.entities_topic:
        source = json.loads(record.value)["source"]
        return source["partition"], source["offset"]
    letter = read_dead_letter(record.headers)
    return letter.partition, letter.offset


async def _batches(client: AIOKafkaClient, place: tuple[str, int]) -> AsyncIterator[Any]:
    """Yield a partition's batches as they are stored, markers and aborted ones included."""
    topic, partition = place
    at = 0
    while True:
        node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = FetchRequest(0, 0, _MOST, 0, [(topic, [(partition, at, _MOST)])])
        ((_, ((_, code, end, *_rest, data),)),) = (await client.send(node, request)).topics
        assert code == 0, f"fetch of {topic}-{partition} at {at}: code {code}"
        records = MemoryRecords(bytes(data or b""))
        while records.has_next():
            batch = records.next_batch()
            at = batch.next_offset
            yield batch
        if at >= end:
            return
