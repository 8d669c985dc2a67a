"""Produces records and confirms each one's delivery."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager
from queue import SimpleQueue
from threading import Thread

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from stream.errors import DeliveryError
from stream.kafka.access import BrokerAccess
from stream.kafka.records import OutgoingRecord
from stream.kafka.topics import partitions_of
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

    When this is cancelled, records that were read are confirmed first; a read that blocks is abandoned.

    Args:
        records: May block while waiting for its next; it is read in a thread.
        settings: Broker, topic and size limit.
        on_confirmed: Called with each record and its position, as soon as the broker has confirmed it.

    Raises:
        DeliveryError: The broker cannot be reached, lacks the topic, or did not take a record; names it.
        stream.errors.ConfigurationError: From ``records``; all records before it are delivered.
    """
    await partitions_of(settings, settings.documents_topic)  # producing to a missing topic might create it
    async with open_producer(settings) as producer:
        return await _send_all(producer, records, settings, on_confirmed)


@asynccontextmanager
async def open_producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer; what it has sent is confirmed or has failed when it closes.

    Raises:
        DeliveryError: The broker cannot be reached.
    """
    access = BrokerAccess(settings)
    producer = AIOKafkaProducer(
        **access.options,
        max_request_size=settings.max_message_bytes,
        enable_idempotence=True,
    )
    try:
        await producer.start()
    except (KafkaError, OSError) as error:
        await producer.stop()
        raise DeliveryError(
            f"no Kafka broker answers at {settings.broker}: {access.explained(error)}"
        ) from error
    try:
        yield producer
    finally:
        await producer.stop()


async def _send_all(
    producer: AIOKafkaProducer,
    records: Iterable[OutgoingRecord],
    settings: Settings,
    on_confirmed: Callable[[OutgoingRecord, Position], None],
) -> int:
    unconfirmed: deque[asyncio.Future[None]] = deque()
    sent = 0
    try:
        async with aclosing(_read_in_thread(records)) as incoming:
            async for record in incoming:
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


async def _read_in_thread(records: Iterable[OutgoingRecord]) -> AsyncGenerator[OutgoingRecord]:
    """Read an iterable that may block, each item when it is asked for.

    asyncio's own threads hold up the end of the program until they return, which a read from a terminal may
    never do; the thread here is a daemon.
    """
    requests: SimpleQueue[Future[OutgoingRecord | None] | None] = SimpleQueue()

    def read() -> None:
        iterator = iter(records)
        while (answer := requests.get()) is not None:
            try:
                answer.set_result(next(iterator, None))
            except BaseException as error:  # noqa: BLE001 - raised where the record is awaited
                answer.set_exception(error)

    Thread(target=read, daemon=True, name="reader of records").start()
    try:
        while True:
            answer: Future[OutgoingRecord | None] = Future()
            answer.set_running_or_notify_cancel()
            requests.put(answer)
            if (record := await asyncio.wrap_future(answer)) is None:
                return
            yield record
    finally:
        requests.put(None)


async def _confirm(
    record: OutgoingRecord,
    stored: asyncio.Future[RecordMetadata],
    on_confirmed: Callable[[OutgoingRecord, Position], None],
) -> None:
    at = await stored
    on_confirmed(record, (at.partition, at.offset))
