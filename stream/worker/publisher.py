"""What the worker sends, and the certainty that Kafka has it."""

import asyncio
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from stream.backoff import pauses
from stream.contract.headers import size
from stream.contract.record import Headers
from stream.errors import DeliveryError
from stream.settings import Settings
from stream.worker.health_state import Outage
from stream.worker.metrics import Telemetry

_log = structlog.get_logger(__name__)
_REQUEST_TIMEOUT = 15.0
_SILENCE = 5.0
_RECORD_OVERHEAD = 1024  # batch and record framing, generously


class MessageTooLarge(DeliveryError):  # noqa: N818 - names what it is
    """The producer's or the topic's size limit refuses this message."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def bytes(self) -> int:
        """Its size in a batch, at most."""
        return len(self.key or b"") + len(self.value or b"") + size(self.headers) + _RECORD_OVERHEAD


class Outbox:
    """Sends messages and returns once all replicas in sync have them, however long that takes.

    An aiokafka producer of its own, and not Faust's: idempotent (Faust's is not), awaited for each message by
    many documents at once, which it batches, and cheaper a message than Faust's send path.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry, broker: Outage) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._broker = broker
        self._producer: AIOKafkaProducer | None = None
        self._renewal = asyncio.Lock()

    @property
    def largest(self) -> int:
        """Bytes a message may have, ``Outgoing.bytes``."""
        return self._settings.max_message_bytes

    async def start(self) -> None:
        """Connect; waits for the broker as long as it takes, and says so."""
        for pause in pauses(first=0.25, longest=5.0):
            try:
                self._producer = await self._connected()
            except (KafkaError, OSError) as error:
                self._broker.began(f"no broker answers at {self._settings.broker}: {error}")
                await asyncio.sleep(pause)
            else:
                self._broker.ended()
                return

    async def publish(self, message: Outgoing) -> None:
        """Send a message; returns when the broker has acknowledged it. Failures are retried without end.

        Raises:
            MessageTooLarge: No retry can help: the message is larger than the topic takes.
        """
        if message.bytes > self.largest:
            raise MessageTooLarge(
                f"{message.bytes:,} bytes are more than PADELLM_MAX_MESSAGE_BYTES ({self.largest:,}) allows"
            )
        for pause in pauses(first=0.1, longest=5.0):
            producer = self._producer
            if producer is None:
                raise DeliveryError("the outbox is closed")
            try:
                await self._send(producer, message)
            except MessageSizeTooLargeError as error:
                raise MessageTooLarge(
                    f"topic {message.topic} refuses {message.bytes:,} bytes (its max.message.bytes)"
                ) from error
            except (KafkaError, OSError) as error:
                self._telemetry.retry("publish")
                self._broker.began(f"topic {message.topic} takes no message: {error!r}")
                await asyncio.sleep(pause)
                if not getattr(error, "retriable", False):
                    await self._renew(producer)
            else:
                self._broker.ended()
                return

    async def reaches_broker(self) -> bool:
        """Whether the broker answers a metadata request now."""
        if self._producer is None:
            return False
        try:
            async with asyncio.timeout(_SILENCE):
                return bool(await self._producer.client.force_metadata_update())
        except (KafkaError, OSError, TimeoutError):
            return False

    async def close(self) -> None:
        """Stop sending; what the broker has not acknowledged by then is not acknowledged upstream either."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stopped(producer)

    async def _send(self, producer: AIOKafkaProducer, message: Outgoing) -> None:
        acknowledged = await producer.send(
            message.topic, key=message.key, value=message.value, headers=list(message.headers)
        )
        # An idempotent producer tries on for ever by itself; its silence has to be made visible.
        while not (await asyncio.wait({acknowledged}, timeout=_SILENCE))[0]:
            self._broker.began(f"topic {message.topic}: no acknowledgement for {_SILENCE:.0f} s")
        await acknowledged

    async def _connected(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.broker,
            client_id=f"{self._settings.group}-outbox",
            acks="all",
            enable_idempotence=True,
            max_request_size=self._settings.max_message_bytes,
            request_timeout_ms=int(_REQUEST_TIMEOUT * 1000),
        )
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

    async def _renew(self, failed: AIOKafkaProducer) -> None:
        """Replace a producer after an error it does not recover from (a lost sequence, a fenced id)."""
        async with self._renewal:
            if self._producer is not failed:
                return
            _log.warning("producer replaced", reason="an error that it does not recover from")
            await _stopped(failed)
            await self.start()


async def _stopped(producer: AIOKafkaProducer) -> None:
    """Stop a producer, within bounds: without a broker it would wait for acknowledgements for ever."""
    try:
        async with asyncio.timeout(2.0):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError):
        await producer.client.close()
