"""Publishing of the worker's messages, each until Kafka has acknowledged it."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    BrokerResponseError,
    CorruptRecordException,
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownError,
    UnknownTopicOrPartitionError,
)

from stream.aio import all_of
from stream.backoff import pauses
from stream.contract.headers import size
from stream.contract.record import Headers, Record
from stream.errors import DeliveryError
from stream.kafka.access import BrokerAccess
from stream.settings import Settings
from stream.worker.health_state import DependencyStatus
from stream.worker.metrics import WorkerMetrics

_log = structlog.get_logger(__name__)
_REQUEST_TIMEOUT = 15.0
_SILENCE = 5.0
_STOP_TIMEOUT = 2.0
_LONGEST_PAUSE = 1.0  # between tries: outcomes come within 5 s of the broker's return
# Messages of one moment travel in one request, as with Kafka's own producer since 4.0 (KIP-1030).
_LINGER_MS = 5
_RECORD_OVERHEAD = 1024  # batch and record framing, generously
# INVALID_RECORD, the answer of a compacted topic to a record without a key, is a code that aiokafka does not
# know; brokers before 2.4 call the record corrupt.
_WANTS_A_KEY = (UnknownError, CorruptRecordException)


class MessageTooLarge(DeliveryError):  # noqa: N818 - names what it is
    """The producer's or the topic's size limit refuses this message."""


class KeyRequired(DeliveryError):  # noqa: N818 - names what it is
    """The topic refuses this message for good, and the message has no key; a compacted topic wants one."""


class PartitionLost(DeliveryError):  # noqa: N818 - names what it is
    """The partition of this document has, or will have, another owner, who reads the document again."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send.

    Attributes:
        record: Record whose outcome the message is.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    record: Record

    @property
    def bytes(self) -> int:
        """Upper bound of its size in a batch."""
        return len(self.key or b"") + len(self.value or b"") + size(self.headers) + _RECORD_OVERHEAD


class Outlet(Protocol):
    """Publishes outcomes, each by itself (``Publisher``) or in transactions (``TransactionalPublisher``)."""

    @property
    def largest(self) -> int:
        """Largest ``Outgoing.bytes`` of a message."""

    async def publish(self, message: Outgoing, *rows: Outgoing) -> None:
        """Return once the outcome of a record is safe in Kafka: its message, and the rows that go with it.

        Raises:
            MessageTooLarge: No retry can help: one of them is larger than its topic takes, or all together
                are larger than ``largest``.
            KeyRequired: No retry can help: the topic does not take the message without a key.
            DeliveryError: It will not be published here.
        """

    async def pass_over(self, record: Record) -> None:
        """Return once the offset of a record without a message may be committed.

        Raises:
            PartitionLost: The record is another worker's.
        """


class Publisher:
    """Sends messages and returns once all replicas in sync have them, however long that takes.

    An aiokafka producer of its own, and not Faust's: idempotent (Faust's is not), awaited for each message by
    many documents at once, which it batches, and cheaper a message than Faust's send path.
    """

    def __init__(self, settings: Settings, metrics: WorkerMetrics, broker: DependencyStatus) -> None:
        self._settings = settings
        self._access = BrokerAccess(settings)
        self._metrics = metrics
        self._broker = broker
        self._producer: AIOKafkaProducer | None = None
        self._renewal = asyncio.Lock()
        self._closed = False

    @property
    def largest(self) -> int:
        """Largest ``Outgoing.bytes`` of a message."""
        return self._settings.max_message_bytes

    @property
    def trouble(self) -> str | None:
        """Cause for which the last connection to the broker failed; None if it did not."""
        return self._access.trouble

    async def start(self) -> None:
        """Connect; waits for the broker as long as it takes.

        Raises:
            DeliveryError: The publisher was closed meanwhile.
        """
        for pause in pauses(first=0.25, longest=_LONGEST_PAUSE):
            try:
                producer = await self._connected()
            except (KafkaError, OSError) as error:
                cause = self._access.explained(error)
                self._broker.failed("connect", f"no broker answers at {self._settings.broker}: {cause}")
            else:
                if not self._closed:
                    self._producer = producer
                    self._broker.worked("connect")
                    return
                await _stopped(producer)
            if self._closed:
                raise DeliveryError("the publisher is closed")
            await asyncio.sleep(pause)

    async def publish(self, message: Outgoing, *rows: Outgoing) -> None:
        """Send an outcome; returns when the broker has acknowledged all. Failures are retried without end.

        The largest row goes first, then the message: an event that is there gets no dead letter because the
        topic of the rows takes less.

        Raises:
            MessageTooLarge: No retry can help: one of them is larger than its topic takes, or all together
                are larger than ``largest``.
            KeyRequired: No retry can help: the topic does not take the message without a key.
        """
        assert_fits((message, *rows), self.largest)
        largest = max(rows, key=lambda row: row.bytes, default=None)
        if largest is not None:
            await self._publish(largest)
        await self._publish(message)
        await all_of(self._publish(row) for row in rows if row is not largest)

    async def _publish(self, message: Outgoing) -> None:
        operation = f"publish to {message.topic}"
        for pause in pauses(first=0.1, longest=_LONGEST_PAUSE):
            producer = self._producer
            if self._closed or producer is None:
                raise DeliveryError("the publisher is closed")
            try:
                await self._send(producer, message, operation)
            except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
                raise MessageTooLarge(
                    f"topic {message.topic} refuses {message.bytes:,} bytes (its max.message.bytes)"
                ) from error
            except (KafkaError, OSError) as error:
                self._metrics.retry("publish")
                await self._renew_after(error, producer)
                if message.key is None and isinstance(error, _WANTS_A_KEY):
                    raise KeyRequired(
                        f"topic {message.topic} refuses a message without a key: {error!r}"
                    ) from error
                self._broker.failed(operation, explained(error, message.topic))
                await asyncio.sleep(pause)
            else:
                self._broker.worked(operation)
                return

    async def pass_over(self, record: Record) -> None:
        """Do nothing: the offset is committed by itself."""

    async def reaches_broker(self) -> bool:
        """Return whether the broker answers a metadata request now."""
        if self._producer is None:
            return False
        try:
            async with asyncio.timeout(_SILENCE):
                return bool(await self._producer.client.force_metadata_update())
        except (KafkaError, OSError, TimeoutError):
            return False

    async def close(self) -> None:
        """Stop sending; what the broker has not acknowledged by then is not acknowledged upstream either."""
        self._closed = True
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stopped(producer)

    async def _send(self, producer: AIOKafkaProducer, message: Outgoing, operation: str) -> None:
        acknowledged = await producer.send(
            message.topic, key=message.key, value=message.value, headers=list(message.headers)
        )
        # An idempotent producer retries without end and without a word; a stopped one never answers.
        while not (await asyncio.wait({acknowledged}, timeout=_SILENCE))[0]:
            missing = producer.client.cluster.partitions_for_topic(message.topic) is None
            if self._producer is not producer:
                acknowledged.cancel()
                raise KafkaError("the producer was replaced before the acknowledgement")
            self._broker.failed(
                operation,
                explained(UnknownTopicOrPartitionError(), message.topic)
                if missing
                else f"topic {message.topic}: no acknowledgement for {_SILENCE:.0f} s",
            )
        await acknowledged

    async def _connected(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._access.options,
            client_id=f"{self._settings.group}-publisher",
            acks="all",
            enable_idempotence=True,
            linger_ms=_LINGER_MS,
            max_request_size=self._settings.max_message_bytes,
            request_timeout_ms=int(_REQUEST_TIMEOUT * 1000),
        )
        # When a broker has come back and leads nothing yet, aiokafka fails what is older than a request. Each
        # such batch leaves a gap in the sequence, and the broker then refuses all that follows.
        producer._message_accumulator._batch_ttl = math.inf  # noqa: SLF001 - no argument sets it alone
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                await producer.start()
        except TimeoutError as error:
            await _stopped(producer)
            raise KafkaError(f"no answer for {_REQUEST_TIMEOUT:.0f} s") from error
        except BaseException:
            await _stopped(producer)
            raise
        return producer

    async def _renew_after(self, error: Exception, failed: AIOKafkaProducer) -> None:
        """Replace a producer after an error that it does not recover from (a lost sequence, a fenced id).

        A full buffer (``KafkaTimeoutError``) is none: the messages in it go out once the broker is back.
        """
        if getattr(error, "retriable", False) or isinstance(error, KafkaTimeoutError):
            return
        async with self._renewal:
            if self._producer is failed:
                _log.warning("producer replaced", cause=repr(error))
                await _stopped(failed)
                await self.start()


def assert_fits(outcome: Sequence[Outgoing], largest: int) -> None:
    """Check the messages of an outcome, together, against PADELLM_MAX_MESSAGE_BYTES.

    Raises:
        MessageTooLarge: They are larger.
    """
    size = sum(message.bytes for message in outcome)
    if size > largest:
        with_rows = f" in {len(outcome):,} messages" if len(outcome) > 1 else ""
        raise MessageTooLarge(
            f"{size:,} bytes{with_rows} are more than PADELLM_MAX_MESSAGE_BYTES ({largest:,}) allows"
        )


def explained(error: Exception, topic: str) -> str:
    """Say why a topic takes no message, and what to do."""
    if isinstance(error, UnknownTopicOrPartitionError):
        return f"topic {topic} does not exist: create it with padellm topics"
    if isinstance(error, InvalidTimestampError):
        return (
            f"topic {topic} refuses messages of this time: set this machine's clock right, or the topic's "
            "message.timestamp.before.max.ms and message.timestamp.after.max.ms"
        )
    if isinstance(error, BrokerResponseError) and not error.retriable:
        return f"topic {topic} refuses messages: {error!r}; check its settings and this worker's rights"
    return f"topic {topic} takes no message: {error!r}"


async def _stopped(producer: AIOKafkaProducer) -> None:
    """Stop a producer within bounds: without a broker it would wait for acknowledgements for ever."""
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError):
        await producer.client.close()
        if (sender := producer._sender.sender_task) is not None:  # noqa: SLF001 - it would go on for ever
            sender.cancel()
