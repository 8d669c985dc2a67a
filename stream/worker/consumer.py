"""Faust's Kafka consumer, with its acknowledgement, commit and rebalance replaced by ours.

Written against faust-streaming 0.15.3, pinned for that. What is wrong there, and shown by tests/integration:
``Consumer._new_offset`` commits past documents in flight; a stream acknowledges the messages it skips after a
rebalance; a commit that failed counts as done; any error of a commit ends the worker; a rebalance waits for
the documents in flight without limit; gaps in the offsets hold commits up.
"""

import asyncio
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver

from stream.settings import Settings
from stream.worker.health_state import Vitals
from stream.worker.intake import Intake
from stream.worker.metrics import Telemetry
from stream.worker.offset_tracker import Ledger, Partition

_log = structlog.get_logger(__name__)
SESSION_TIMEOUT = 12.0
HEARTBEAT_INTERVAL = 3.0
REQUEST_TIMEOUT = 20.0
COMMIT_INTERVAL = 1.0
_COMMIT_TIMEOUT = 10.0
# A full window stops fetching, for hours if the model is away that long: no reason to leave the group.
_NEVER_MS = 7 * 24 * 3600 * 1000
# Brokers return the first batch of a fetch whole, whatever its size (KIP-74): a document of the largest size
# comes through, while a burst of them does not fill the memory.
_PARTITION_FETCH = 1024 * 1024


class OrderedConsumer(driver.Consumer):  # type: ignore[misc]  # Faust is untyped here
    """Commits what the ledger says and nothing else."""

    logger = driver.logger

    def __init__(
        self,
        *args: Any,
        settings: Settings,
        ledger: Ledger,
        intake: Intake,
        vitals: Vitals,
        telemetry: Telemetry,
        **kwargs: Any,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._intake = intake
        self._vitals = vitals
        self._telemetry = telemetry
        super().__init__(*args, **kwargs)

    def ack(self, message: Any) -> bool:
        """Faust's acknowledgements, which streams also give for what they skip, move no offset."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """The ledger does not mind offsets without documents."""

    def on_buffer_full(self, tp: Any) -> None:
        """Nothing: a full queue holds the fetch loop, where Faust's way polls each second."""

    def on_buffer_drop(self, tp: Any) -> None:
        """Nothing, likewise."""

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Nothing: ``/livez`` watches progress; Faust's takes every long outage for a hanging stream."""

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002 - Faust's signature
        """Commit the finished prefixes; what fails stays to be committed."""
        assigned = self.assignment()
        offsets = {tp: offset for tp, offset in self._ledger.committable().items() if tp in assigned}
        if not offsets or not await self._commit(offsets):
            return False
        self._ledger.committed(offsets)
        self._committed_offset.update(offsets)
        return True

    async def wait_empty(self) -> None:
        """Before partitions go: let documents end for a bounded time, then commit what did."""
        await self._intake.drain(self._settings.drain_limit)
        await self.commit()

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Partitions are being taken away; all of them, to be handed out anew."""
        self._vitals.joined = False
        self._vitals.progress()
        await super().on_partitions_revoked(revoked)
        self._ledger.revoke(revoked)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        """The group has handed out partitions; a worker without any waits for its turn."""
        await super().on_partitions_assigned(assigned, generation_id)
        self._telemetry.rebalance()
        self._vitals.joined = True
        self._vitals.progress()
        _log.info(
            "partitions assigned",
            partitions=sorted(tp.partition for tp in assigned),
            generation=generation_id,
        )

    def behind(self) -> dict[Partition, int]:
        """Records without an outcome, for each partition whose end is known."""
        return {tp: lag for tp in self.assignment() if (lag := self._behind(tp)) is not None}

    def note_failed_commit(self, error: Exception) -> None:
        """Count and log a commit that has to be repeated."""
        self._telemetry.retry("commit")
        _log.warning("commit failed", cause=repr(error), effect="offsets are committed later")

    def _behind(self, tp: Any) -> int | None:
        assignment = self._thread.subscription_assignment()
        if assignment is None or tp not in assignment.tps:  # taken away just now
            return None
        state = assignment.state_value(tp)
        if state.highwater is None or not state.has_valid_position:
            return None
        # Behind the last document there may be offsets that hold none; the fetch position passes over them.
        first_open = self._ledger.first_open(tp)
        start: int = state.position if first_open is None else first_open
        return max(0, int(state.highwater) - start)

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust is untyped here
    """The thread that holds the aiokafka consumer."""

    logger = driver.logger

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        self._assignor = RoundRobinPartitionAssignor
        return AIOKafkaConsumer(
            client_id=f"{self.app.conf.id}-intake",
            group_id=self.app.conf.id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # Documents of an aborted transaction were never sent.
            isolation_level="read_committed",
            max_poll_records=self.app.conf.broker_max_poll_records,
            max_poll_interval_ms=_NEVER_MS,
            max_partition_fetch_bytes=_PARTITION_FETCH,
            fetch_max_wait_ms=500,
            request_timeout_ms=int(REQUEST_TIMEOUT * 1000),
            session_timeout_ms=int(SESSION_TIMEOUT * 1000),
            heartbeat_interval_ms=int(HEARTBEAT_INTERVAL * 1000),
            rebalance_timeout_ms=int(self.app.conf.broker_rebalance_timeout * 1000),
        )

    def subscription_assignment(self) -> Any:
        """What aiokafka has been assigned, with its positions; None between assignments."""
        subscription = self._ensure_consumer()._subscription.subscription  # noqa: SLF001 - positions without a round trip
        return None if subscription is None else subscription.assignment

    async def _commit(self, offsets: Any) -> bool:
        """Commit within a bound; an offset that did not get through is committed later; no error is fatal."""
        consumer = self._ensure_consumer()
        places = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(at, "") for tp, at in offsets.items()
        }
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT):
                await consumer.commit(places)
        except (KafkaError, TimeoutError) as error:
            self.consumer.note_failed_commit(error)
            return False
        return True


def use_in(app: Any, **parts: Any) -> None:
    """Make a Faust app consume through ``OrderedConsumer``."""
    app.transport.Consumer = partial(OrderedConsumer, **parts)
