"""Documents through Kafka, timed: the broker is a stand-in."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from stream.bench.stack import through_kafka
from stream.contract.messages import Document
from stream.errors import StackError
from stream.settings import Settings

DOCUMENTS = [Document(text=f"text {number}") for number in range(40)]


@pytest.fixture
def broker(monkeypatch):
    """Answers every document when it takes it; takes none for a while before the fourth."""
    stand_in = SimpleNamespace(stall=0.4, dead_letters=0)

    async def round_trip(records, *, settings, on_outcome):
        def take():
            for at, record in enumerate(records):
                if at == 3:
                    time.sleep(stand_in.stall)
                on_outcome(record, None)

        await asyncio.to_thread(take)
        return SimpleNamespace(dead_letters=stand_in.dead_letters, documents=len(DOCUMENTS))

    monkeypatch.setattr("stream.bench.stack.round_trip", round_trip)
    return stand_in


@pytest.mark.usefixtures("broker")
async def test_through_kafka_counts_the_wait_for_a_broker_that_takes_nothing():
    """A document's time begins when it is due, though the producer hands it over later."""
    run = await through_kafka(DOCUMENTS, Settings(), rate=100)
    assert run.p50_ms > 150
    assert run.p999_ms >= run.p99_ms > 380
    assert run.documents_per_second == pytest.approx(40 / 0.43, rel=0.3)


@pytest.mark.usefixtures("broker")
async def test_through_kafka_at_saturation_begins_with_a_documents_turn():
    """Without a rate no document is due before there is room for it: a stall is one document's."""
    run = await through_kafka(DOCUMENTS, Settings())
    assert run.p50_ms < 100
    assert run.p999_ms > 300


async def test_through_kafka_wants_events(broker):
    """Figures of documents that became dead letters would be no good."""
    broker.dead_letters, broker.stall = 2, 0
    with pytest.raises(StackError, match="2 of 40 documents became dead letters"):
        await through_kafka(DOCUMENTS, Settings())
