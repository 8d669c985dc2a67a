"""One partition's transactional producer: outcomes and the offset behind them, in one transaction.

It repeats nothing by itself: after any answer that leaves a transaction in doubt its user calls ``begin``
again, which settles that transaction on the broker. So no request that the network held can reach a later
transaction.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, partial
from itertools import zip_longest
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    BrokerResponseError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    for_code,
)
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream.aio import all_of
from stream.errors import DeliveryError
from stream.kafka.access import BrokerAccess
from stream.settings import Settings
from stream.worker.publisher import KeyRequired, MessageTooLarge, Outgoing, explained
from stream.worker.transaction_requests import (
    EndTxn,
    Features,
    StableOffsetFetch,
    TxnOffsetCommit,
    transaction_version,
)

_log = structlog.get_logger(__name__)
_REQUEST_TIMEOUT = 10.0
_TRANSACTION_TIMEOUT = 30.0  # then the broker aborts what a dead worker has left, if no other took over
_CLOSE_TIMEOUT = 2.0
_CONCURRENT_PAUSE = 0.005
_BATCH_BYTES = 65_536
_ALL_IN_SYNC = -1
_EPOCH_PER_TRANSACTION = 2


class _Code(IntEnum):
    """Error codes of the protocol; aiokafka does not know all of them."""

    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    MESSAGE_TOO_LARGE = 10
    COORDINATOR_LOAD_IN_PROGRESS = 14
    INVALID_TOPIC = 17
    RECORD_LIST_TOO_LARGE = 18
    NOT_ENOUGH_REPLICAS = 19
    ILLEGAL_GENERATION = 22
    UNKNOWN_MEMBER_ID = 25
    REBALANCE_IN_PROGRESS = 27
    TOPIC_AUTHORIZATION_FAILED = 29
    INVALID_TIMESTAMP = 32
    POLICY_VIOLATION = 44
    CONCURRENT_TRANSACTIONS = 51
    OPERATION_NOT_ATTEMPTED = 55
    FENCED_INSTANCE_ID = 82
    INVALID_RECORD = 87
    UNSTABLE_OFFSET_COMMIT = 88


_NO_MEMBER = {_Code.ILLEGAL_GENERATION, _Code.UNKNOWN_MEMBER_ID, _Code.FENCED_INSTANCE_ID}
_TOO_LARGE = {_Code.MESSAGE_TOO_LARGE, _Code.RECORD_LIST_TOO_LARGE}
_FAULT_OF_TOPIC = {
    _Code.UNKNOWN_TOPIC_OR_PARTITION,
    _Code.INVALID_TOPIC,
    _Code.TOPIC_AUTHORIZATION_FAILED,
    _Code.INVALID_TIMESTAMP,
    _Code.POLICY_VIOLATION,
}
_WANTS_A_KEY = {_Code.INVALID_RECORD, _Code.CORRUPT_MESSAGE}
# Nothing was done yet. NOT_ENOUGH_REPLICAS also means that a leader could not ask for the transaction yet.
_NOT_YET = {
    _Code.CONCURRENT_TRANSACTIONS,
    _Code.UNSTABLE_OFFSET_COMMIT,
    _Code.NOT_ENOUGH_REPLICAS,
    _Code.COORDINATOR_LOAD_IN_PROGRESS,
}


class TransactionInDoubt(DeliveryError):  # noqa: N818 - names what it is
    """The broker refused a step of a transaction, or its answer did not come."""


class MembershipEnded(DeliveryError):  # noqa: N818 - names what it is
    """The group has another owner for the partition, or a new generation."""


class MessageRefused(DeliveryError):  # noqa: N818 - names what it is
    """A topic does not take a message, or one of those of its batch; nothing was committed.

    Attributes:
        index: Number of the message in its transaction; None where its batch held others.
        refusal: Refusal of that message.
    """

    def __init__(self, index: int | None, refusal: MessageTooLarge | KeyRequired) -> None:
        super().__init__(str(refusal))
        self.index = index
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Membership:
    """A worker's membership of its group, as it was when partitions were assigned.

    Attributes:
        generation: Generation of the group.
        member: Member id.
        instance: Id of a static member, or None.
    """

    generation: int
    member: str
    instance: str | None


@dataclass(slots=True)
class _ProducedBatch:
    """Records for one partition of a topic, and their numbers in the transaction."""

    builder: Any
    indices: list[int]

    def append(self, index: int, message: Outgoing) -> bool:
        """Return whether the batch had room for the message."""
        fits = self.builder.append(
            len(self.indices), int(time.time() * 1000), message.key, message.value, list(message.headers)
        )
        if fits is None:
            return False
        self.indices.append(index)
        return True


class TransactionalProducer:
    """Commits messages together with the offset of one partition of the documents topic.

    Its transactional id is a function of group, topic and partition, so that a new owner fences the old one.

    Args:
        settings: Names broker, group and limits.
        partition: Topic and partition whose offset is committed.
        membership: Membership that owns the partition.
    """

    def __init__(self, settings: Settings, partition: TopicPartition, membership: Membership) -> None:
        self._settings = settings
        self._access = BrokerAccess(settings)
        self._partition = partition
        self._membership = membership
        topic, number = partition
        self._id = f"{settings.group}/{topic}/{number}"
        self._client: Any = None
        self._coordinator = self._group_coordinator = -1
        self._identity = (-1, -1)
        self._sequences: defaultdict[TopicPartition, int] = defaultdict(int)
        self._raises_epochs = False

    async def begin(self) -> int:
        """Fence earlier owners, settle the transaction that may be open, and return the committed offset.

        Returns:
            Offset of the next document, -1 where none is committed.

        Raises:
            MembershipEnded: Another worker owns the partition; nobody was fenced.
            TransactionInDoubt: The broker refused, or is not ready.
            KafkaError: The broker does not answer.
            DeliveryError: The broker is too old.
        """
        await self.close()
        self._client = AIOKafkaClient(
            **self._access.options,
            client_id=f"{self._settings.group}-transactions",
            request_timeout_ms=int(_REQUEST_TIMEOUT * 1000),
        )
        try:
            await self._client.bootstrap()
        except KafkaConnectionError as error:
            raise KafkaConnectionError(self._access.explained(error)) from error
        if not self._client.cluster.brokers():  # a broker answers before it has registered
            raise KafkaConnectionError(f"{self._settings.broker}: no broker has registered yet")
        group = self._settings.group
        self._coordinator = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, self._id)
        self._group_coordinator = await self._client.coordinator_lookup(CoordinationType.GROUP, group)
        try:
            await self._assert_member()
            version = transaction_version(await self._send(self._coordinator, Features()))
            self._raises_epochs = version >= _EPOCH_PER_TRANSACTION
            if not self._raises_epochs:
                _warn_of_old_transactions(self._settings.broker)
            await self._initialise()
            return await self._stable_offset()
        except (NotImplementedError, IncompatibleBrokerVersion) as error:
            raise DeliveryError(
                f"PADELLM_DELIVERY=exactly_once needs Kafka 2.5 or later at {self._settings.broker}: {error}"
            ) from error

    async def commit(self, messages: Sequence[Outgoing], offset: int) -> None:
        """Commit messages, if any, and the offset behind their documents; all or nothing becomes visible.

        Raises:
            MessageRefused: A topic does not take a message.
            MembershipEnded: The group refuses the offset.
            TransactionInDoubt: Committed or not: ``begin`` returns which.
            KafkaError: Likewise.
        """
        batches = await self._batches(messages)
        topics: defaultdict[str, list[int]] = defaultdict(list)
        for topic, number in batches:
            topics[topic].append(number)
        if topics:
            await self._add_partitions(topics)
        await self._coordinate(
            AddOffsetsToTxnRequest(self._id, *self._identity, self._settings.group),
            lambda answer: (answer.error_code,),
        )
        # When one is in doubt the other ends, too: no request of it may go out later.
        await all_of((self._produce(batches, messages), self._commit_offset(offset)))
        await self._end()

    async def close(self) -> None:
        """Close all connections; what is open on the broker stays open."""
        client, self._client = self._client, None
        if client is not None:
            # Connections whose other end has vanished would wait for ever to send what they hold.
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await client.close()

    async def _assert_member(self) -> None:
        """Ask the group before fencing: a worker that was frozen must not fence the present owner."""
        request = HeartbeatRequest(self._settings.group, self._membership.generation, self._membership.member)
        answer = await self._send(self._group_coordinator, request)
        if answer.error_code != _Code.REBALANCE_IN_PROGRESS:
            _check((answer.error_code,), "heartbeat")

    async def _initialise(self) -> None:
        request = InitProducerIdRequest(self._id, int(_TRANSACTION_TIMEOUT * 1000))
        answer = await self._coordinate(request, lambda answer: (answer.error_code,))
        self._identify(answer.producer_id, answer.producer_epoch)

    async def _stable_offset(self) -> int:
        answer = await self._ask(
            self._group_coordinator,
            StableOffsetFetch(self._settings.group, self._partition),
            lambda answer: (answer.error_code, *(part[4] for _, parts, _ in answer.topics for part in parts)),
        )
        ((_, (part,), _),) = answer.topics
        return int(part[1])

    def _identify(self, producer_id: int, epoch: int) -> None:
        if (producer_id, epoch) != self._identity:
            self._identity = producer_id, epoch
            self._sequences.clear()

    async def _batches(self, messages: Sequence[Outgoing]) -> dict[TopicPartition, list[_ProducedBatch]]:
        batches: dict[TopicPartition, list[_ProducedBatch]] = {}
        for index, message in enumerate(messages):
            place = await self._place(message)
            of_place = batches.setdefault(place, [])
            if not of_place or not of_place[-1].append(index, message):
                of_place.append(_new_batch())
                of_place[-1].append(index, message)
        return batches

    async def _place(self, message: Outgoing) -> TopicPartition:
        try:
            partitions = await self._client._wait_on_metadata(message.topic)  # noqa: SLF001 - as AIOKafkaProducer
        except BrokerResponseError as error:
            raise TransactionInDoubt(explained(error, message.topic)) from error
        available = self._client.cluster.available_partitions_for_topic(message.topic)
        number = DefaultPartitioner()(message.key, sorted(partitions), sorted(available))
        return TopicPartition(message.topic, number)

    async def _add_partitions(self, topics: Mapping[str, list[int]]) -> None:
        answer = await self._answer(
            self._coordinator,
            AddPartitionsToTxnRequest(self._id, *self._identity, list(topics.items())),
            lambda answer: (code for _, parts in answer.errors for _, code in parts),
        )
        for topic, parts in answer.errors:
            for _, code in parts:
                _check_topic(code, topic)

    async def _produce(
        self, batches: dict[TopicPartition, list[_ProducedBatch]], messages: Sequence[Outgoing]
    ) -> None:
        """Send the batches; a request takes one for each partition."""
        for row in zip_longest(*batches.values()):
            nodes: defaultdict[int, dict[TopicPartition, _ProducedBatch]] = defaultdict(dict)
            for place, batch in zip(batches, row, strict=True):
                if batch is not None:
                    nodes[self._leader(place)][place] = batch
            await all_of(self._send_batches(*each, messages) for each in nodes.items())

    def _leader(self, place: TopicPartition) -> int:
        leader = self._client.cluster.leader_for_partition(place)
        if leader is None or leader < 0:
            raise TransactionInDoubt(f"partition {place.partition} of topic {place.topic} has no leader")
        return int(leader)

    async def _send_batches(
        self, node: int, batches: dict[TopicPartition, _ProducedBatch], messages: Sequence[Outgoing]
    ) -> None:
        topics: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for place, batch in batches.items():
            batch.builder.set_producer_state(*self._identity, self._sequences[place])
            self._sequences[place] += len(batch.indices)
            topics[place.topic].append((place.partition, bytes(batch.builder.build())))
        request = ProduceRequest(
            transactional_id=self._id,
            required_acks=_ALL_IN_SYNC,
            timeout=int(_REQUEST_TIMEOUT * 1000),
            topics=list(topics.items()),
        )
        answer = await self._answer(
            node,
            request,
            lambda answer: (part[1] for _, parts in answer.topics for part in parts),
            ConnectionGroup.DEFAULT,
        )
        for topic, parts in answer.topics:
            for number, code, *_ in parts:
                batch = batches[TopicPartition(topic, number)]
                _check_produced(code, batch.indices, messages)

    async def _commit_offset(self, offset: int) -> None:
        member = self._membership
        request = TxnOffsetCommit(
            (self._id, *self._identity),
            (self._settings.group, member.generation, member.member, member.instance),
            self._partition,
            offset,
        )
        await self._ask(
            self._group_coordinator,
            request,
            lambda answer: (code for _, parts, _ in answer.topics for _, code, _ in parts),
        )

    async def _end(self) -> None:
        form = EndTxn if self._raises_epochs else partial(EndTxnRequest, transaction_result=True)
        answer = await self._send(self._coordinator, form(self._id, *self._identity))
        _check((answer.error_code,), "end")
        if self._raises_epochs:
            self._identify(answer.producer_id, answer.producer_epoch)

    async def _coordinate(self, request: Any, codes: Callable[[Any], Iterable[int]]) -> Any:
        return await self._ask(self._coordinator, request, codes)

    async def _ask(self, node: int, request: Any, codes: Callable[[Any], Iterable[int]]) -> Any:
        answer = await self._answer(node, request, codes)
        _check(set(codes(answer)) - {0, _Code.OPERATION_NOT_ATTEMPTED}, type(request).__name__)
        return answer

    async def _answer(
        self,
        node: int,
        request: Any,
        codes: Callable[[Any], Iterable[int]],
        group: ConnectionGroup = ConnectionGroup.COORDINATION,
    ) -> Any:
        """Send a request again until the broker has completed what came before it."""
        deadline = time.monotonic() + _REQUEST_TIMEOUT
        while True:
            answer = await self._send(node, request, group=group)
            if _NOT_YET.isdisjoint(codes(answer)) or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(_CONCURRENT_PAUSE)

    async def _send(
        self, node: int, request: Any, *, group: ConnectionGroup = ConnectionGroup.COORDINATION
    ) -> Any:
        return await self._client.send(node, request, group=group)


def _new_batch() -> _ProducedBatch:
    return _ProducedBatch(
        DefaultRecordBatchBuilder(
            magic=2,
            compression_type=0,
            is_transactional=1,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=0,
            batch_size=_BATCH_BYTES,
        ),
        [],
    )


def _check(codes: Iterable[int], step: str) -> None:
    """Raise what the codes of an answer mean."""
    for code in codes:
        if code in _NO_MEMBER:
            raise MembershipEnded(f"{step}: {for_code(code).__name__} ({code})")
        if code:
            raise TransactionInDoubt(f"{step}: {for_code(code).__name__} ({code})")


def _check_produced(code: int, indices: list[int], messages: Sequence[Outgoing]) -> None:
    """Raise what the code of a batch means for its messages."""
    alone = indices[0] if len(indices) == 1 else None
    first = messages[indices[0]]
    if code in _TOO_LARGE:
        size = sum(messages[index].bytes for index in indices)
        raise MessageRefused(
            alone,
            MessageTooLarge(f"topic {first.topic} refuses {size:,} bytes (its max.message.bytes)"),
        )
    if code in _WANTS_A_KEY and any(messages[index].key is None for index in indices):
        raise MessageRefused(
            alone, KeyRequired(f"topic {first.topic} refuses a message without a key: code {code}")
        )
    _check_topic(code, first.topic)


def _check_topic(code: int, topic: str) -> None:
    """Raise what the code for a partition of a topic means."""
    if code in _FAULT_OF_TOPIC:
        raise TransactionInDoubt(explained(for_code(code)(), topic))
    if code != _Code.OPERATION_NOT_ATTEMPTED:
        _check((code,), f"publish to {topic}")


@cache
def _warn_of_old_transactions(broker: str) -> None:
    """Log once that a broker does not raise the epoch with each transaction."""
    _log.warning(
        "broker without an epoch for each transaction",
        broker=broker,
        effect="after any doubt a new producer settles the transaction before the next one",
        fix="Kafka 4.0 or later with transaction.version=2",
    )
