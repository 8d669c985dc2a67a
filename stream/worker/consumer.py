"""Faust's Kafka consumer, with its acknowledgement, commit and rebalance replaced by ours.

Written against faust-streaming 0.15.3, pinned for that. Its faults, shown by tests/integration:
``Consumer._new_offset`` commits past documents in flight; a stream acknowledges the messages it skips after a
rebalance; a commit that failed counts as done; any error of a commit ends the worker; a rebalance waits for
the documents in flight without limit; gaps in the offsets hold commits up; records before the committed
offset are dropped although the log has gone back; any error of a fetch ends the worker; where the committed
offsets take longer than ``broker_request_timeout`` no record is ever fetched again, without a word.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import consumer as aiokafka_consumer
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver

from stream.kafka.access import BrokerAccess
from stream.kafka.lenient_records import decode_leniently
from stream.settings import Settings
from stream.worker.committer import TransactionalPublisher
from stream.worker.group_member import CountingAssignor, GroupMember
from stream.worker.health_state import HealthState
from stream.worker.intake import Intake
from stream.worker.metrics import WorkerMetrics
from stream.worker.offset_tracker import OffsetTracker, Partition
from stream.worker.progress import Bounds, Wait
from stream.worker.transactional_producer import Membership

_log = structlog.get_logger(__name__)
HEARTBEAT_INTERVAL = 1.0  # by it the others learn that a worker has died, after its session has ended
REQUEST_TIMEOUT = 20.0
COMMIT_INTERVAL = 1.0
_COMMIT_TIMEOUT = 10.0
_METADATA_MAX_AGE = 15.0  # new partitions, and a topic made anew, are read within twice that
_FETCH_PAUSE = 1.0
_GETMANY_TIMEOUT = 1.0
_ROOM_TIMEOUT = 1.0
_FETCH = "fetch"
_BOUNDS = Bounds(late=30.0, stuck=180.0)
_WITHOUT_LEADER = Bounds(late=30.0, stuck=math.inf)  # a restart of the worker elects none
# With the most documents in flight fetching stops, for hours if the model is unavailable that long: no
# reason to leave the group. And committed offsets may take as long as a leader is away.
NEVER = 7 * 24 * 3600.0
# Brokers return the first batch of a fetch whole, whatever its size (KIP-74): a document of the largest size
# comes through, while a burst of them does not fill the memory.
_PARTITION_FETCH = 1024 * 1024


class _RebalanceListener(driver.ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes under which membership the partitions were assigned."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._thread.note_membership()
        await super().on_partitions_assigned(assigned)


class OrderedConsumer(driver.Consumer):  # type: ignore[misc]  # Faust is untyped here
    """Commits the tracker's offsets and nothing else."""

    logger = driver.logger
    RebalanceListener = _RebalanceListener
    _seeking = False

    def __init__(
        self,
        *args: Any,
        settings: Settings,
        tracker: OffsetTracker,
        intake: Intake,
        health: HealthState,
        metrics: WorkerMetrics,
        transactions: TransactionalPublisher | None,
        **kwargs: Any,
    ) -> None:
        self.settings = settings
        self.access = BrokerAccess(settings)
        self._tracker = tracker
        self._intake = intake
        self._health = health
        self._metrics = metrics
        self._transactions = transactions
        self._room = asyncio.Event()
        # Generation and offset of the latest record given to Faust.
        self._handed_over: dict[Partition, tuple[int, int]] = {}
        super().__init__(*args, **kwargs)

    def ack(self, message: Any) -> bool:
        """Move no offset: streams acknowledge the messages that they skip, too."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Do nothing: the tracker does not mind offsets without documents."""

    def on_buffer_full(self, tp: Any) -> None:  # noqa: ARG002 - one queue holds the records of all partitions
        """Hold the records back, where Faust's way polls each second."""
        self._room.clear()

    def on_buffer_drop(self, tp: Any) -> None:  # noqa: ARG002
        """Let the records come again."""
        self._room.set()

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Do nothing: ``/livez`` watches progress; Faust's takes every long outage for a hanging stream."""

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002 - Faust's signature
        """Commit the finished prefixes, unless transactions do; what fails stays to be committed."""
        if self._transactions is not None:
            return False
        assigned = self.assignment()
        offsets = {tp: offset for tp, offset in self._tracker.committable().items() if tp in assigned}
        if not offsets or not await self._commit(offsets):
            return False
        self._tracker.committed(offsets)
        self._committed_offset.update(offsets)
        return True

    async def wait_empty(self) -> None:
        """Before partitions go: let documents end for a bounded time, then commit the finished ones."""
        await self._intake.drain(0 if self._health.fatal else self.settings.drain_limit)
        await self.commit()
        if self._transactions is not None:
            await self._transactions.release()

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Give up all partitions, to be handed out anew."""
        self._health.joined = False
        self._health.progress()
        await super().on_partitions_revoked(revoked)
        if self._transactions is not None:
            await self._transactions.release()
        self._tracker.forget(revoked)
        self._handed_over.clear()

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        """Take over the partitions that the group has handed out, perhaps none."""
        if self._transactions is not None:
            await self._transactions.take_over(assigned, self._thread.membership)
        await super().on_partitions_assigned(assigned, generation_id)
        self._room.set()  # the queue was emptied
        self._metrics.rebalance()
        self._health.joined = True
        self._health.progress()
        _log.info(
            "partitions assigned",
            partitions=sorted(tp.partition for tp in assigned),
            generation=generation_id,
        )

    async def perform_seek(self) -> None:
        """Seek to the committed offsets, however long that takes; ``waits`` names it."""
        self._seeking = True
        try:
            await super().perform_seek()
        finally:
            self._seeking = False

    async def seek_to_committed(self) -> Any:
        """Seek to the committed offsets; with transactions, to those read after the old owner was fenced."""
        if self._transactions is None:
            return await super().seek_to_committed()
        offsets = self._transactions.committed()
        fresh = [TopicPartition(*tp) for tp, offset in offsets.items() if offset < 0]
        if fresh:
            await self._thread.seek_to_beginning(*fresh)
        await self._thread.seek_wait({tp: offset for tp, offset in offsets.items() if offset >= 0})
        return offsets

    def behind(self) -> dict[Partition, int]:
        """Records without an outcome, for each partition whose end is known."""
        return {tp: lag for tp in self.assignment() if (lag := self._behind(tp)) is not None}

    def waits(self, *, room: bool) -> Iterator[Wait]:
        """Waits of the partitions that are ours: records that nobody takes, offsets that are not committed.

        Args:
            room: Whether another document could be begun.
        """
        if self._transactions is None:
            for tp, offset in self._tracker.uncommitted().items():
                yield Wait(tp.topic, tp.partition, offset, "finished documents are not committed", _BOUNDS)
        for tp in self.assignment() if self._seeking else ():
            yield Wait(tp.topic, tp.partition, -1, "its committed offset is not known", _BOUNDS)
        for tp in self.assignment() if room else ():
            begun = self._tracker.last_opened(tp)
            generation, offset = self._handed_over.get(tp, (-1, -1))
            # A record of an earlier generation is dropped, and read again.
            if generation == self.app.consumer_generation_id and offset > begun:
                yield Wait(tp.topic, tp.partition, begun + 1, "fetched records are not begun", _BOUNDS)
            elif (position := self._readable_from(tp)) is not None:
                leader = self._thread.has_leader(tp)
                what = "records are not fetched" if leader else "records are not fetched, without a leader"
                bounds = _BOUNDS if leader else _WITHOUT_LEADER
                yield Wait(tp.topic, tp.partition, position, what, bounds)

    def topic_exists(self) -> bool:
        """Return whether the broker knows the documents topic, as of the last metadata."""
        return bool(self._thread.topic_partitions(self.settings.documents_topic) != 0)

    def dead_task(self) -> str | None:
        """Cause of the end of a background task, after which no record would ever come or be committed."""
        thread: _ConsumerThread = self._thread
        committing = self._transactions.broken() if self._transactions is not None else None
        return thread.dead_task() or committing

    def fenced(self) -> bool:
        """Return whether another worker has this one's instance id now."""
        thread: _ConsumerThread = self._thread
        return thread.fenced()

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's signature
        try:
            records = await self._fetched(active_partitions, timeout)
        except KafkaError as error:
            self._health.broker.failed(_FETCH, f"records cannot be fetched: {error!r}")
            await asyncio.sleep(_FETCH_PAUSE)
            return {}
        if records:
            self._health.broker.worked(_FETCH)
        return records

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand the records to the agent, as Faust does, without the four tasks that it makes for each."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for tp, message in self.getmany(timeout=_GETMANY_TIMEOUT):
                    position = self._read_offset[tp]
                    if position is None or message.offset >= position:
                        await self._hand_on(tp, message)
                        self._read_offset[tp] = message.offset
                await asyncio.sleep(0)
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _hand_on(self, tp: Any, message: Any) -> None:
        """Put a record into the agent's queue; a rebalance must not wait for room in it."""
        if not self._room.is_set():
            await self.wait_first(self._room.wait(), self.suspend_flow.wait(), timeout=_ROOM_TIMEOUT)
        queues = [channel.queue for channel in self.app.topics._tp_index[tp]]  # noqa: SLF001 - Faust's own way to it
        if self.app.flow_control.is_active() and not any(queue.full() for queue in queues):
            await self.callback(message)  # it waits for nothing
        else:
            await self.wait_first(self.callback(message), self.suspend_flow.wait())

    async def _fetched(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        """Fetch records; where the log does not hold the position, go to its start for the next fetch."""
        try:
            return await super()._getmany(active_partitions, timeout)
        except NoOffsetForPartitionError as error:
            await self._thread.seek_to_beginning(*error.args)
        except OffsetOutOfRangeError as error:
            (positions,) = error.args
            starts = await self._thread.earliest_offsets(*positions)
            for tp, position in positions.items():
                if position < starts[tp]:
                    self._note_deletion(tp, position, starts[tp])
            await self._thread.seek_to_beginning(*positions)
        return {}

    def _note_deletion(self, tp: Any, position: int, start: int) -> None:
        """Count and log records that were deleted before anybody read them."""
        self._metrics.deleted_unread(start - position)
        _log.error(
            "records deleted unread",
            partition=tp.partition,
            position=position,
            start=start,
            effect=f"up to {start - position} documents have no outcome and never will",
            fix=f"a longer retention of topic {tp.topic}, or more workers",
        )

    def _readable_from(self, tp: Any) -> int | None:
        """Position of a partition from which there are records to read; None at its end, or while unknown."""
        assignment = self._thread.subscription_assignment()
        if assignment is None or tp not in assignment.tps:  # taken away just now
            return None
        state = assignment.state_value(tp)
        # Behind the stable offset a producer's transaction is open.
        end = state.highwater if state.lso is None or state.lso < 0 else state.lso
        if end is None or not state.has_valid_position or state.position >= end:
            return None
        return int(state.position)

    def _to_message(self, tp: Any, record: Any) -> Any:
        expected = self._read_offset[tp]
        if expected is not None and record.offset < expected:
            _log.warning(
                "log ends before the position, reading from its start",
                partition=tp.partition,
                position=expected,
                start=record.offset,
            )
            self._tracker.forget([tp])
            if self._transactions is not None:
                self._transactions.forget(tp)
            self._read_offset[tp] = record.offset
        message = super()._to_message(tp, record)
        self._handed_over[tp] = message.generation_id, record.offset
        return message

    def note_failed_commit(self, error: Exception) -> None:
        """Count and log a commit that has to be repeated."""
        self._metrics.retry("commit")
        _log.warning("commit failed", cause=repr(error), effect="offsets are committed later")

    def _behind(self, tp: Any) -> int | None:
        assignment = self._thread.subscription_assignment()
        if assignment is None or tp not in assignment.tps:  # taken away just now
            return None
        state = assignment.state_value(tp)
        if state.highwater is None or not state.has_valid_position:
            return None
        # Behind the last document there may be offsets that hold none; the fetch position passes over them.
        first_open = self._tracker.first_open(tp)
        start: int = state.position if first_open is None else first_open
        return max(0, int(state.highwater) - start)

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust is untyped here
    """Thread of the aiokafka consumer."""

    logger = driver.logger
    membership: Membership | None = None

    def note_membership(self) -> None:
        """Note generation and member id of the assignment that begins."""
        self.membership = self._present_membership()

    def dead_task(self) -> str | None:
        """Cause of the end of a background task; None while all run."""
        consumer = self._consumer
        if consumer is None or consumer._coordinator is None:  # noqa: SLF001 - it starts
            return None
        tasks = consumer._fetcher._fetch_task, consumer._coordinator._coordination_task  # noqa: SLF001
        ended = [task for task in tasks if task.done()]
        return repr(ended[0]) if ended else None

    def fenced(self) -> bool:
        """Return whether the group has fenced this member."""
        consumer = self._consumer
        return consumer is not None and getattr(consumer._coordinator, "fenced", False)  # noqa: SLF001

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:  # noqa: ARG002 - the settings name the broker
        decode_leniently()
        aiokafka_consumer.GroupCoordinator = GroupMember
        self._assignor = CountingAssignor()
        settings: Settings = self.consumer.settings
        return AIOKafkaConsumer(
            client_id=f"{self.app.conf.id}-intake",
            group_id=settings.group,
            group_instance_id=settings.instance_id,
            **self.consumer.access.options,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            # A position that the log does not hold is an error to us: records may have been deleted unread.
            auto_offset_reset="none",
            # Documents of an aborted transaction were never sent.
            isolation_level="read_committed",
            max_poll_records=self.app.conf.broker_max_poll_records,
            max_poll_interval_ms=int(NEVER * 1000),
            max_partition_fetch_bytes=_PARTITION_FETCH,
            fetch_max_wait_ms=500,
            request_timeout_ms=int(REQUEST_TIMEOUT * 1000),
            session_timeout_ms=int(settings.session_timeout * 1000),
            heartbeat_interval_ms=int(HEARTBEAT_INTERVAL * 1000),
            rebalance_timeout_ms=int(self.app.conf.broker_rebalance_timeout * 1000),
            metadata_max_age_ms=int(_METADATA_MAX_AGE * 1000),
        )

    def _present_membership(self) -> Membership:
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001 - Faust does the same
        return Membership(
            coordinator.generation,
            coordinator.member_id,
            coordinator._group_instance_id,  # noqa: SLF001
        )

    def has_leader(self, tp: Any) -> bool:
        """Return whether a broker leads a partition, as of the last metadata."""
        leader = self._ensure_consumer()._client.cluster.leader_for_partition(tp)  # noqa: SLF001
        return leader is not None and leader >= 0

    def subscription_assignment(self) -> Any:
        """Assignment of aiokafka, with its positions; None between assignments."""
        subscription = self._ensure_consumer()._subscription.subscription  # noqa: SLF001 - positions without a round trip
        return None if subscription is None else subscription.assignment

    async def _fetch_records(self, consumer: AIOKafkaConsumer, *args: Any, **options: Any) -> Any:
        # As AIOKafkaConsumer.getmany does: until its error is taken over here, the coordinator stands still.
        consumer._coordinator.check_errors()  # noqa: SLF001
        return await super()._fetch_records(consumer, *args, **options)

    async def _commit(self, offsets: Any) -> bool:
        """Try once, within a bound; an offset that is not stored is committed later; no error is fatal."""
        places = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(at, "") for tp, at in offsets.items()
        }
        if self._present_membership() != self.membership:
            # The membership has ended. A commit now would bear generation -1, which the group takes when it
            # is empty, and so overwrite the offsets of a worker that has come and gone meanwhile.
            return False
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT):
                # Not ``commit``: its retries go out under whatever membership there is by then.
                await self._ensure_consumer()._coordinator._do_commit_offsets(None, places)  # noqa: SLF001
        except (KafkaError, TimeoutError) as error:
            self.consumer.note_failed_commit(error)
            return False
        return True


def use_in(app: Any, **parts: Any) -> None:
    """Make a Faust app consume through ``OrderedConsumer``."""
    app.transport.Consumer = partial(OrderedConsumer, **parts)
