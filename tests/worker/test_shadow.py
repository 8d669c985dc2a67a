"""The second model beside the stream."""

import asyncio
import json
import time
from dataclasses import replace

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.contract.record import Record
from stream.errors import InferenceRejected
from stream.settings import Settings
from stream.worker import shadow as shadow_module
from stream.worker.handler import Handler
from stream.worker.health_state import DependencyStatus
from stream.worker.shadow import Shadow
from tests.worker.conftest import ScriptedModel, answer_to


class OtherModel(ScriptedModel):
    """Finds a made-up label less."""

    async def extract(self, document):
        """As the first model, but for one entity."""
        await super().extract(document)
        found = answer_to(document)
        return replace(found, entities=found.entities[:1] if "same" not in document.text else found.entities)


@pytest.fixture
def other() -> OtherModel:
    """The second model."""
    return OtherModel()


@pytest.fixture
def published() -> list:
    """Differences so far."""
    return []


@pytest.fixture
async def handle(served, other, publisher, metrics, published):
    """Handles documents with some ids and texts, with all of them in the share unless said."""
    shadows = []

    def begin(share=1.0, publish=None):
        async def keep(difference):
            published.append(difference)

        model = replace(served, extractor=other, generator=other)
        shadow = Shadow(model, publish or keep, metrics, share=share, deadline=5.0)
        shadows.append(shadow)
        status = DependencyStatus("model", metrics)
        handler = Handler(Settings(), served, publisher, metrics, status, shadow=shadow)

        async def handle(*documents):
            for number, (name, text) in enumerate(documents):
                value = json.dumps({"id": name, "text": text}).encode()
                await handler.handle(Record("docs", 0, number, value=value), time.monotonic())
            await asyncio.sleep(0.05)

        return handle

    yield begin
    for shadow in shadows:
        await shadow.close()


def _counts(metrics) -> dict[str, float]:
    value = metrics.registry.get_sample_value
    counts = {
        outcome: value("padellm_shadow_total", {"outcome": outcome})
        for outcome in ("same", "different", "dropped", "failed")
    }
    return {outcome: count for outcome, count in counts.items() if count}


async def test_shadow_publishes_what_the_second_model_finds_otherwise(handle, published, metrics, publisher):
    """A difference names the event and both sides; where both find the same there is none."""
    await handle()(("a", "Ada wrote"), ("b", "same here"))
    (difference,) = published
    event = json.loads(publisher.sent[0].value)
    assert (difference.document_id, difference.event_id) == ("a", event["event_id"])
    assert [entity.label for entity in difference.missing] == ["made up"]
    assert difference.added == []
    assert _counts(metrics) == {"different": 1, "same": 1}


async def test_shadow_reads_the_same_share_each_time(handle, other, metrics):
    """About the share is read, chosen by document id alone."""
    documents = [(f"doc-{number}", "Ada wrote") for number in range(300)]
    begun = handle(share=0.2)
    chosen = []
    for document in documents:
        before = other.asked
        await begun(document)
        chosen.append(other.asked > before)
        if len(chosen) == 60:
            break
    again = handle(share=0.2)
    for document, was_chosen in zip(documents, chosen, strict=False):
        before = other.asked
        await again(document)
        assert (other.asked > before) == was_chosen
    assert 4 <= sum(chosen) <= 20


async def test_shadow_that_is_slow_drops_documents_and_holds_nothing_up(handle, other, publisher, metrics):
    """While its places are taken, documents pass it by; every event is published meanwhile."""
    other.script = [60.0] * 8
    began = time.monotonic()
    await handle()(*((f"doc-{number}", "Ada wrote") for number in range(20)))
    assert time.monotonic() - began < 30
    assert len(publisher.sent) == 20
    assert _counts(metrics) == {"dropped": 12}


async def test_shadow_that_fails_fails_no_document(handle, other, publisher, metrics):
    """A model that refuses and a broker that is away are counted, and nothing else."""

    async def away(_difference):
        raise KafkaConnectionError

    other.script = [InferenceRejected("no")]
    await handle(publish=away)(("a", "Ada wrote"), ("b", "Eva wrote"))
    assert len(publisher.sent) == 2
    assert _counts(metrics) == {"failed": 2}


def test_shadow_lots_are_spread_evenly():
    """Ids stand for numbers that are spread over the whole range."""
    lots = sorted(shadow_module._lot(f"doc-{number}") for number in range(1000))
    assert all(abs(lot - number / 1000) < 0.06 for number, lot in enumerate(lots))
