"""Publishing in transactions: outcomes and the offset behind them become visible together, or not at all."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from aiokafka.errors import KafkaError

from stream.backoff import pauses
from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.settings import Settings
from stream.worker.health_state import DependencyStatus
from stream.worker.metrics import WorkerMetrics
from stream.worker.offset_tracker import OffsetTracker, Partition
from stream.worker.publisher import Outgoing, PartitionLost, assert_fits
from stream.worker.transactional_producer import (
    Membership,
    MembershipEnded,
    MessageRefused,
    TransactionalProducer,
    TransactionInDoubt,
)

_log = structlog.get_logger(__name__)
_MOST = 64  # outcomes of a transaction
_LINGER = 0.02
_LAST_ABORT = 2.0
_LONGEST_PAUSE = 1.0  # between tries: outcomes come within 5 s of the broker's return
_RETRIABLE = (TransactionInDoubt, KafkaError, OSError, TimeoutError)


@dataclass(slots=True)
class _Outcome:
    """A record that waits for its transaction, with its messages or without one."""

    offset: int
    messages: tuple[Outgoing, ...]
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: Exception) -> None:
        """Let its document have the error, unless it was abandoned."""
        if not self.done.done():
            self.done.set_exception(error)


class PartitionCommitter:
    """Commits the outcomes of one partition in the order of their documents.

    A transaction holds the outcomes of documents before which none is unfinished, and the offset behind them.
    After any doubt the broker settles the transaction and says how far it is; the same outcomes follow again
    if they were not in it. So no document has to be read a second time.

    Args:
        partition: Partition of the documents topic.
        producer: Its producer.
        tracker: Knows the order of the documents.
        largest: Bytes that the messages of a transaction may have together, if it holds several.
        metrics: Count what has to be repeated.
        broker: Status of the broker.
    """

    def __init__(
        self,
        partition: Partition,
        producer: TransactionalProducer,
        tracker: OffsetTracker,
        *,
        largest: int,
        metrics: WorkerMetrics,
        broker: DependencyStatus,
    ) -> None:
        self._partition = partition
        self._producer = producer
        self._tracker = tracker
        self._largest = largest
        self._metrics = metrics
        self._broker = broker
        self._operation = f"transactions of partition {partition.partition}"
        self._waiting: dict[int, _Outcome] = {}
        self._arrived = asyncio.Event()
        self._open = False
        self._lost: PartitionLost | None = None
        self._owned = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self.committed: int | None = None
        self.broken: str | None = None

    async def take_over(self) -> None:
        """Fence the old owner, read where it ended, and begin to commit.

        Waits for the broker as long as the partition is ours.
        """
        self._working = asyncio.create_task(self._work())
        owned = asyncio.create_task(self._owned.wait())
        await asyncio.wait({self._working, owned}, return_when=asyncio.FIRST_COMPLETED)
        owned.cancel()

    async def publish(self, message: Outgoing, *rows: Outgoing) -> None:
        """Return once the message and its rows are committed, with all outcomes before them.

        Raises:
            MessageTooLarge: A topic does not take one of them.
            KeyRequired: A topic does not take one without a key.
            PartitionLost: They were not committed.
        """
        await self._committed(message.record.offset, message, *rows)

    async def pass_over(self, offset: int) -> None:
        """Return once the offset of a record without a message is committed, with all outcomes before it.

        Raises:
            PartitionLost: It was not committed.
        """
        await self._committed(offset)

    async def _committed(self, offset: int, *messages: Outgoing) -> None:
        if self._lost is not None:
            raise self._lost
        outcome = self._waiting[offset] = _Outcome(offset, messages)
        self._arrived.set()
        try:
            await outcome.done
        finally:
            if self._waiting.get(offset) is outcome:
                del self._waiting[offset]

    def forget(self) -> None:
        """Drop the outcomes that wait: their log is gone."""
        for outcome in self._waiting.values():
            outcome.fail(PartitionLost("the log of the partition went back"))

    async def release(self) -> None:
        """Give the partition up; a transaction that is open is aborted, if that takes no longer than 2 s."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait({self._working})
        if self._open and self._lost is None:
            try:
                async with asyncio.timeout(_LAST_ABORT):
                    await self._producer.begin()
            except (*_RETRIABLE, DeliveryError) as error:
                _log.warning(
                    "transaction left open",
                    partition=self._partition.partition,
                    cause=repr(error),
                    effect="the next owner or the broker aborts it",
                )
        await self._producer.close()
        self._give_up("the partition was handed back")

    async def _work(self) -> None:
        try:
            await self._own()
            while True:
                await self._commit(await self._next())
        except DeliveryError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - the worker ends with it, and documents wait for nothing
            _log.exception("transactions broke down")
            self._end(error)

    async def _own(self) -> None:
        for pause in pauses(first=0.1, longest=_LONGEST_PAUSE):
            try:
                self.committed = await self._producer.begin()
            except _RETRIABLE as error:
                self._note(error)
                await asyncio.sleep(pause)
            else:
                self._broker.worked(self._operation)
                self._owned.set()
                return

    async def _next(self) -> list[_Outcome]:
        """Wait for outcomes, and a little longer for more of them."""
        while True:
            self._arrived.clear()
            if self._finished_prefix():
                await asyncio.sleep(_LINGER)
                if batch := self._finished_prefix():
                    return batch
            else:
                await self._arrived.wait()

    def _finished_prefix(self) -> list[_Outcome]:
        batch: list[_Outcome] = []
        size = 0
        for offset in self._tracker.open_offsets(self._partition):
            outcome = self._waiting.get(offset)
            if outcome is None or outcome.done.done() or len(batch) == _MOST:
                break
            size += sum(message.bytes for message in outcome.messages)
            if batch and size > self._largest:
                break
            batch.append(outcome)
        return batch

    async def _commit(self, batch: list[_Outcome]) -> None:
        """Commit outcomes, or refuse the first that its topic does not take.

        Raises:
            MembershipEnded: The partition has another owner.
            DeliveryError: Another program commits for this group.
        """
        for pause in pauses(first=0.1, longest=_LONGEST_PAUSE):
            try:
                await self._attempt(batch)
            except MessageRefused as refused:
                if refused.index is not None or len(batch) == 1:
                    owners = [outcome for outcome in batch for _ in outcome.messages]
                    owners[refused.index or 0].fail(refused.refusal)
                    return
                batch = batch[:1]
            except _RETRIABLE as error:
                self._note(error)
                await asyncio.sleep(pause)
            else:
                break
        self._open = False
        self._broker.worked(self._operation)
        waiting = [outcome for outcome in batch if not outcome.done.done()]
        if waiting:  # else they were forgotten meanwhile, and their offsets may be those of a new log
            self._tracker.finish_before(self._partition, waiting[-1].offset + 1)
        for outcome in waiting:
            outcome.done.set_result(None)

    async def _attempt(self, batch: list[_Outcome]) -> None:
        after = batch[-1].offset + 1
        if self._open:
            stored = await self._producer.begin()
            if stored == after:  # the answer was lost, and not the transaction
                self.committed = after
                return
            if stored != self.committed:
                raise DeliveryError(
                    f"offset {stored} is committed where {self.committed} or {after} was expected; "
                    "does another program commit for this group?"
                )
        self._open = True
        await self._producer.commit([each for outcome in batch for each in outcome.messages], after)
        self.committed = after

    def _note(self, error: Exception) -> None:
        self._metrics.retry("transaction")
        self._broker.failed(self._operation, f"a transaction is repeated: {error!r}")

    def _end(self, error: Exception) -> None:
        if isinstance(error, MembershipEnded):
            _log.warning("partition given up", partition=self._partition.partition, cause=str(error))
        else:
            self.broken = f"{self._operation}: {error!r}"
        self._give_up(str(error))

    def _give_up(self, cause: str) -> None:
        self._lost = PartitionLost(cause)
        for outcome in self._waiting.values():
            outcome.fail(self._lost)


class TransactionalPublisher:
    """Publishes outcomes in transactions, with a committer for each partition of the present assignment.

    Args:
        settings: Effective settings.
        tracker: Knows the order of the documents.
        metrics: Count what has to be repeated.
        broker: Status of the broker.
        make: Makes the producer of a partition.
    """

    def __init__(
        self,
        settings: Settings,
        tracker: OffsetTracker,
        metrics: WorkerMetrics,
        broker: DependencyStatus,
        make: Callable[[Settings, Partition, Membership], TransactionalProducer] = TransactionalProducer,
    ) -> None:
        self._settings = settings
        self._tracker = tracker
        self._metrics = metrics
        self._broker = broker
        self._make = make
        self._committers: dict[Partition, PartitionCommitter] = {}

    @property
    def largest(self) -> int:
        """Largest ``Outgoing.bytes`` of a message."""
        return self._settings.max_message_bytes

    async def take_over(self, partitions: Iterable[Partition], membership: Membership) -> None:
        """Make the partitions ours: fence their old owners, and read where those ended."""
        await self.release()
        self._committers = {
            partition: PartitionCommitter(
                partition,
                self._make(self._settings, partition, membership),
                self._tracker,
                largest=self.largest,
                metrics=self._metrics,
                broker=self._broker,
            )
            for partition in partitions
        }
        await asyncio.gather(*(committer.take_over() for committer in self._committers.values()))

    def committed(self) -> dict[Partition, int]:
        """Committed offset of each partition that is ours; -1 where there is none."""
        return {
            partition: committer.committed
            for partition, committer in self._committers.items()
            if committer.committed is not None
        }

    async def publish(self, message: Outgoing, *rows: Outgoing) -> None:
        """Return once an outcome is committed, all of it with the offset behind its document.

        Raises:
            MessageTooLarge: No retry can help: one of its messages is larger than its topic takes, or all
                together are larger than ``largest``.
            KeyRequired: No retry can help: the topic does not take the message without a key.
            PartitionLost: The document is another worker's.
        """
        assert_fits((message, *rows), self.largest)
        await self._committer(message.record).publish(message, *rows)

    async def pass_over(self, record: Record) -> None:
        """Return once the offset of a record without a message is committed.

        Raises:
            PartitionLost: The record is another worker's.
        """
        await self._committer(record).pass_over(record.offset)

    def _committer(self, record: Record) -> PartitionCommitter:
        committer = self._committers.get((record.topic, record.partition))
        if committer is None:
            raise PartitionLost("the partition was handed back")
        return committer

    def forget(self, partition: Partition) -> None:
        """Drop the outcomes of a partition whose log went back to an earlier offset."""
        if partition in self._committers:
            self._committers[partition].forget()

    async def release(self) -> None:
        """Give all partitions up."""
        committers, self._committers = self._committers, {}
        await asyncio.gather(*(committer.release() for committer in committers.values()))

    def broken(self) -> str | None:
        """Cause for which a partition that is ours can be committed no more; None while all can."""
        return next((each.broken for each in self._committers.values() if each.broken), None)
