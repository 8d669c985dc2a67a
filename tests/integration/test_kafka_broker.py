"""The embedded Kafka against real clients."""

import asyncio
import os

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

pytestmark = pytest.mark.integration


async def _produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def _consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        async with asyncio.timeout(30):
            return [(await consumer.getone()).value for _ in range(count)]


async def test_kafka_returns_what_was_produced(kafka):
    """What a client produces, a client consumes, in order."""
    values = [b"one", b"two", "三".encode()]
    await _produce(kafka.bootstrap, "round-trip", values)
    assert await _consume(kafka.bootstrap, "round-trip", 3) == values


async def test_kafka_keeps_data_over_a_stop_and_a_kill(private_kafka):
    """What was acknowledged is there after an orderly stop, and after kill -9."""
    await _produce(private_kafka.bootstrap, "kept", [b"before the stop"])
    await asyncio.to_thread(private_kafka.stop)
    await asyncio.to_thread(private_kafka.start)
    await _produce(private_kafka.bootstrap, "kept", [b"before the kill"])
    await asyncio.to_thread(private_kafka.kill)
    await asyncio.to_thread(private_kafka.start)
    assert await _consume(private_kafka.bootstrap, "kept", 2) == [b"before the stop", b"before the kill"]


def test_kafka_stop_leaves_no_process(private_kafka):
    """After a stop nothing of its process group is alive."""
    group = private_kafka.pid
    private_kafka.stop()
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
