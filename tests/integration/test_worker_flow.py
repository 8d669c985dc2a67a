"""The worker's ordinary way, on a real broker."""

import json

import pytest

from tests.integration.worker_fixture import Bench

pytestmark = pytest.mark.integration


async def test_worker_flow_every_document_becomes_one_event(bench: Bench):
    """Documents become events with their entities, keyed by document id, and all offsets are committed."""
    worker = bench.start_worker()
    await worker.is_ready()
    await bench.produce(*(f"Ada{number} wrote" for number in range(40)))
    records = await bench.outcomes(lambda records: len(records) >= 40)
    events = [json.loads(record.value) for record in records]
    assert {event["document_id"] for event in events} == {f"doc-{number}" for number in range(40)}
    assert all(event["entities"][0]["text"].startswith("Ada") for event in events)
    assert all(
        record.key.decode() == event["document_id"] for record, event in zip(records, events, strict=True)
    )
    await bench.until_committed({p: end for p, end in (await bench.ends()).items() if end})
    assert worker.terminate() == 0
    assert not [line for line in worker.lines() if line["logger"].startswith("faust")]
