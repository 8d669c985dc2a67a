"""Publishing until Kafka has acknowledged."""

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
    UnknownError,
    UnknownTopicOrPartitionError,
)

from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.settings import Settings
from stream.worker.publisher import KeyRequired, MessageTooLarge, Outgoing, Publisher

RECORD = Record("docs", 0, 0)
MESSAGE = Outgoing("topic", b"key", b"value", (), RECORD)
NEVER = "never acknowledged"


class ScriptedProducer:
    """A producer that plays its script: errors of ``send``, or ``NEVER``; then it acknowledges at once."""

    def __init__(self, *script: Any) -> None:
        self._script = list(script)
        self.stopped = False
        self.values: list[bytes] = []
        self.topics = {"topic": {0}}
        self.client = SimpleNamespace(cluster=SimpleNamespace(partitions_for_topic=self.topics.get))

    async def send(self, _topic: str, **message: Any) -> asyncio.Future[None]:
        """Play the script."""
        self.values.append(message["value"])
        answer = self._script.pop(0) if self._script else None
        if isinstance(answer, Exception):
            raise answer
        acknowledged = asyncio.get_running_loop().create_future()
        if answer != NEVER:
            acknowledged.set_result(None)
        return acknowledged

    async def stop(self) -> None:
        """Note it."""
        self.stopped = True


@pytest.fixture
def start(health, metrics, monkeypatch):
    """Start a publisher over producers that it connects one after the other."""
    monkeypatch.setattr("stream.worker.publisher._SILENCE", 0.05)
    monkeypatch.setattr("stream.worker.publisher.pauses", lambda **_: itertools.repeat(0.0))

    async def starting(*producers: ScriptedProducer) -> Publisher:
        publisher = Publisher(Settings(), metrics, health.broker)
        left = iter(producers)

        async def connected() -> ScriptedProducer:
            return next(left)

        monkeypatch.setattr(publisher, "_connected", connected)
        await publisher.start()
        return publisher

    return starting


async def test_publisher_full_buffer_replaces_no_producer(start):
    """A buffer that is full while the broker is away is waited for: its messages are still to go out."""
    producer = ScriptedProducer(KafkaTimeoutError(), KafkaTimeoutError())
    publisher = await start(producer)
    await asyncio.wait_for(publisher.publish(MESSAGE), timeout=5)
    assert not producer.stopped


async def test_publisher_replaced_producer_leaves_nobody_waiting(start, health):
    """Messages that a replaced producer has not acknowledged go out through the next one."""
    broken, sound = ScriptedProducer(NEVER, NEVER, OutOfOrderSequenceNumber()), ScriptedProducer()
    publisher = await start(broken, sound)
    await asyncio.wait_for(asyncio.gather(*(publisher.publish(MESSAGE) for _ in range(3))), timeout=5)
    assert broken.stopped
    assert not sound.stopped
    assert health.broker.cause is None


async def test_publisher_retriable_error_is_retried(start, metrics):
    """A lost connection costs tries and no message."""
    producer = ScriptedProducer(KafkaConnectionError(), KafkaConnectionError())
    await (await start(producer)).publish(MESSAGE)
    assert metrics.registry.get_sample_value("padellm_retries_total", {"of": "publish"}) == 2


async def test_publisher_size_limit_is_no_outage(start, health):
    """A message that its topic refuses for its size is refused once and for all."""
    publisher = await start(ScriptedProducer(MessageSizeTooLargeError()))
    with pytest.raises(MessageTooLarge, match=r"topic topic refuses .* \(its max.message.bytes\)"):
        await publisher.publish(MESSAGE)
    assert health.broker.cause is None


async def test_publisher_sends_the_largest_row_before_the_event(start):
    """Where the topic of rows takes too little, no event is there when the refusal comes."""
    rows = [Outgoing("rows", b"key", value, (), RECORD) for value in (b"one", b"second", b"ten")]
    sound = ScriptedProducer()
    await (await start(sound)).publish(MESSAGE, *rows)
    assert sound.values == [b"second", b"value", b"one", b"ten"]
    narrow = ScriptedProducer(MessageSizeTooLargeError())
    with pytest.raises(MessageTooLarge, match="topic rows refuses"):
        await (await start(narrow)).publish(MESSAGE, *rows)
    assert narrow.values == [b"second"]


async def test_publisher_bounds_an_outcome_with_its_rows(start):
    """An outcome whose messages are together larger than one may be is refused before any of them is sent."""
    producer = ScriptedProducer()
    half = Outgoing("rows", b"key", bytes(Settings().max_message_bytes // 2), (), RECORD)
    with pytest.raises(MessageTooLarge, match="in 3 messages are more than PADELLM_MAX_MESSAGE_BYTES"):
        await (await start(producer)).publish(MESSAGE, half, half)
    assert producer.values == []


async def test_publisher_missing_key_is_no_outage(start, health):
    """A message without a key that a compacted topic refuses is refused once and for all."""
    publisher = await start(ScriptedProducer(UnknownError()), ScriptedProducer())
    with pytest.raises(KeyRequired, match="topic topic refuses a message without a key"):
        await publisher.publish(Outgoing("topic", None, b"value", (), RECORD))
    assert health.broker.cause is None


@pytest.mark.parametrize(
    ("refusal", "cause"),
    [
        (TopicAuthorizationFailedError, "topic topic refuses messages: TopicAuthorizationFailedError"),
        (InvalidTimestampError, "topic topic refuses messages of this time: set this machine's clock right"),
    ],
)
async def test_publisher_refusal_stays_visible_until_it_ends(start, health, refusal, cause):
    """A topic that refuses all messages is a cause that a probe of the broker does not hide."""
    refusing = [ScriptedProducer(refusal()) for _ in range(20)]
    publisher = await start(*refusing, ScriptedProducer(NEVER))
    publishing = asyncio.create_task(publisher.publish(MESSAGE))
    while health.broker.cause is None:  # noqa: ASYNC110 - the status has no event
        await asyncio.sleep(0)
    health.broker.worked("probe")
    assert cause in health.broker.cause
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)


async def test_publisher_missing_topic_is_named_until_it_is_there(start, health):
    """A message for a topic that does not exist waits for it, and the cause is the topic."""
    publisher = await start(ScriptedProducer(*[UnknownTopicOrPartitionError() for _ in range(20)]))
    publishing = asyncio.create_task(publisher.publish(MESSAGE))
    while health.broker.cause is None:  # noqa: ASYNC110 - the status has no event
        await asyncio.sleep(0)
    assert health.broker.cause == "topic topic does not exist: create it with padellm topics"
    await asyncio.wait_for(publishing, timeout=5)
    assert health.broker.cause is None


async def test_publisher_message_that_waits_for_a_deleted_topic_names_it(start, health):
    """A topic that was deleted before the acknowledgement is named, with what to do."""
    producer = ScriptedProducer(NEVER)
    publisher = await start(producer)
    producer.topics.clear()
    publishing = asyncio.create_task(publisher.publish(MESSAGE))
    await asyncio.sleep(0.1)
    assert "topic topic does not exist: create it" in health.broker.cause
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)


async def test_publisher_closed_while_it_connects_keeps_no_producer(start, monkeypatch):
    """A producer that connects after the publisher was closed is stopped."""
    publisher = await start(ScriptedProducer())
    late, connect = ScriptedProducer(), asyncio.Event()

    async def connected() -> ScriptedProducer:
        await connect.wait()
        return late

    monkeypatch.setattr(publisher, "_connected", connected)
    starting = asyncio.create_task(publisher.start())
    await asyncio.sleep(0)
    await publisher.close()
    connect.set()
    with pytest.raises(DeliveryError, match="closed"):
        await starting
    assert late.stopped
    with pytest.raises(DeliveryError, match="closed"):
        await publisher.publish(MESSAGE)


async def test_publisher_messages_outlast_a_partition_without_a_leader(health, metrics, monkeypatch):
    """A message that has waited longer than any request keeps its place until its partition has a leader."""

    async def started(_producer: AIOKafkaProducer) -> None:
        pass

    monkeypatch.setattr(AIOKafkaProducer, "start", started)
    producer = await Publisher(Settings(), metrics, health.broker)._connected()
    accumulator = producer._message_accumulator
    acknowledged = await accumulator.add_message(TopicPartition("topic", 0), b"key", b"value", timeout=1)
    accumulator._batches[TopicPartition("topic", 0)][0]._ctime -= 3600
    batches, leader_is_missing = accumulator.drain_by_nodes(ignore_nodes=set())
    assert leader_is_missing
    assert not batches
    assert not acknowledged.done()
    producer._closed = True  # as it never started
