"""Rows of entities on a real broker, through a worker that is killed."""

import json
from collections import Counter
from typing import Any

import pytest

from stream.kafka.topics import ensure_topics
from stream.settings import Delivery
from tests.integration.worker_fixture import Bench

pytestmark = pytest.mark.integration
_DOCUMENTS = 60


async def _produce(bench: Bench) -> None:
    """Send documents, every third without an entity."""
    async with bench.producer() as producer:
        for number in range(_DOCUMENTS):
            labels = ["location"] if number % 3 == 0 else ["person"]
            document = {"id": f"doc-{number}", "text": f"Ada{number} SLEEP 0.02", "labels": labels}
            await producer.send(bench.settings.documents_topic, json.dumps(document).encode())
        await producer.flush()


@pytest.mark.parametrize("delivery", Delivery)
async def test_worker_rows_survive_kill(bench: Bench, delivery: Delivery):
    """Killed with -9, every document has all rows of its event; exactly once each has them once."""
    topic = f"{bench.settings.entities_topic}-rows"
    bench.settings = bench.settings.model_copy(update={"entity_rows_topic": topic})
    await ensure_topics(bench.settings)
    await _produce(bench)

    async def read(topic: str, wanted: int) -> list[dict[str, Any]]:
        records = await bench.outcomes(
            lambda records: len({record.key for record in records}) >= wanted,
            topics=(topic,),
            isolation_level="read_committed",
        )
        return [json.loads(record.value) for record in records]

    worker = bench.start_worker(delivery=delivery, max_in_flight=16)
    await read(topic, 20)
    worker.kill()
    bench.start_worker(delivery=delivery, max_in_flight=16)
    await bench.until_committed({p: end for p, end in (await bench.ends()).items() if end})

    events = await read(bench.settings.entities_topic, _DOCUMENTS)
    rows = Counter(row["entity_id"] for row in await read(topic, _DOCUMENTS))
    assert set(rows) == {f"{event['event_id']}/{len(event['entities'])}" for event in events}
    assert len(rows) == _DOCUMENTS
    if delivery is Delivery.EXACTLY_ONCE:
        assert set(rows.values()) == {1}
