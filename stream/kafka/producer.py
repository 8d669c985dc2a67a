"""Produces records and confirms each one's delivery."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from stream.errors import DeliveryError
from stream.kafka.records import OutgoingRecord
from stream.settings import Settings

Position = tuple[int, int]
"""Partition and offset of a record in the documents topic."""

_UNCONFIRMED = 1000
_FAILURE = "the broker at {broker} did not take record {number}: {error}"


async def send(
    records: Iterable[OutgoingRecord],
    *,
    settings: Settings,
    on_confirmed: Callable[[OutgoingRecord, Position], None],
) -> int:
    """Produce records to the documents topic, and return how many the broker confirmed: all of them.

    Args:
        records: May block while waiting for its next; it is read in a thread.
        settings: Broker, topic and size limit.
        on_confirmed: Called with each record and where it was stored, as soon as the broker has confirmed it.

    Raises:
        DeliveryError: The broker cannot be reached or did not take a record; says which.
        stream.errors.ConfigurationError: From ``records``; what came before is delivered.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.broker,
        max_request_size=settings.max_message_bytes,
        enable_idempotence=True,
    )
    try:
        await producer.start()
    except (KafkaError, OSError) as error:
        await producer.stop()
        raise DeliveryError(f"no Kafka broker answers at {settings.broker}: {error}") from error
    try:
        return await _send_all(producer, iter(records), settings, on_confirmed)
    finally:
        await producer.stop()


async def _send_all(
    producer: AIOKafkaProducer,
    records: Iterator[OutgoingRecord],
    settings: Settings,
    on_confirmed: Callable[[OutgoingRecord, Position], None],
) -> int:
    unconfirmed: deque[asyncio.Future[None]] = deque()
    sent = 0
    try:
        while (record := await asyncio.to_thread(next, records, None)) is not None:
            sent += 1
            stored = await producer.send(settings.documents_topic, record.value, key=record.key)
            unconfirmed.append(asyncio.ensure_future(_confirm(record, stored, on_confirmed)))
            if len(unconfirmed) >= _UNCONFIRMED:
                await unconfirmed.popleft()
        await asyncio.gather(*unconfirmed)
    except KafkaError as error:
        raise DeliveryError(_FAILURE.format(broker=settings.broker, number=sent, error=error)) from error
    finally:
        await asyncio.gather(*unconfirmed, return_exceptions=True)
    return sent


async def _confirm(
    record: OutgoingRecord,
    stored: asyncio.Future[RecordMetadata],
    on_confirmed: Callable[[OutgoingRecord, Position], None],
) -> None:
    at = await stored
    on_confirmed(record, (at.partition, at.offset))
