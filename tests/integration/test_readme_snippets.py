"""The README's programs, run word for word against a real Kafka."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stream.contract.messages import Document
from stream.kafka.topics import ensure_topics
from stream.schemas.examples import EVENT
from stream.settings import Settings

README = Path(__file__).parents[2] / "README.md"
pytestmark = pytest.mark.integration


def snippet(name: str) -> str:
    """The program of the README under the comment that names it."""
    (program,) = re.findall(
        rf"<!-- snippet: {name} -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    return program


async def started(program: str, broker: str) -> asyncio.subprocess.Process:
    """A Python program of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env={**os.environ, "BROKER": broker}, stdout=asyncio.subprocess.PIPE
    )


async def test_readme_snippets_produce_a_document(private_kafka):
    """The README's producer puts a valid document on the topic, under its id."""
    await ensure_topics(Settings(broker=private_kafka.bootstrap))
    program = await started(snippet("produce"), private_kafka.bootstrap)
    assert await asyncio.wait_for(program.wait(), 60) == 0
    async with AIOKafkaConsumer(
        "documents", bootstrap_servers=private_kafka.bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(30):
            async for record in consumer:
                if record.key == b"note-1":
                    break
    assert Document.model_validate_json(record.value).id == "note-1"


async def test_readme_snippets_consume_an_event(private_kafka):
    """The README's consumer prints the entities of an event."""
    await ensure_topics(Settings(broker=private_kafka.bootstrap))
    async with AIOKafkaProducer(bootstrap_servers=private_kafka.bootstrap) as producer:
        await producer.send_and_wait("entities", key=b"note-1", value=EVENT.model_dump_json().encode())
    program = await started(snippet("consume"), private_kafka.bootstrap)
    try:
        assert program.stdout is not None
        line = await asyncio.wait_for(program.stdout.readline(), 60)
    finally:
        program.kill()
        await program.wait()
    first = EVENT.entities[0]
    assert line.decode().split() == [
        *(EVENT.document_id, first.label),
        *first.text.split(),
        *(str(first.start), str(first.end)),
    ]
