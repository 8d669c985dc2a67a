"""Repeats that a worker sees."""

import asyncio
from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from stream.contract.messages import EntityEvent
from stream.contract.record import Record
from stream.contract.repeats import differences
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.worker.repeats import RepeatLog
from tests.tiny_model import write_tiny_checkpoint
from tests.worker.conftest import answer_to

RECORD = Record("docs", 0, 7, value=b'{"id": "d", "text": "Ada"}')


def _counted(metrics, entities: str) -> float:
    return metrics.registry.get_sample_value("padellm_repeats_total", {"entities": entities}) or 0


async def test_repeats_of_a_document_are_counted(make_handler, metrics):
    """A document that is handled again counts as a repeat with the same entities."""
    handler = make_handler()
    for _ in range(3):
        await handler.handle(RECORD, 0.0)
    await handler.handle(replace(RECORD, offset=8), 0.0)
    assert (_counted(metrics, "same"), _counted(metrics, "other")) == (2, 0)


async def test_repeats_with_other_entities_are_counted_and_logged(make_handler, metrics):
    """A repeat whose entities differ has a count of its own, and a warning with the event's id."""

    class Fickle:
        asked = 0

        async def extract(self, document):
            self.asked += 1
            answer = answer_to(document)
            return replace(answer, entities=answer.entities[: self.asked])

    handler = make_handler({"extractor": Fickle()})
    with capture_logs() as logs:
        for _ in range(3):
            await handler.handle(RECORD, 0.0)
    assert (_counted(metrics, "same"), _counted(metrics, "other")) == (1, 1)
    warnings = [line for line in logs if line["event"] == "repeat with other entities"]
    assert len(warnings) == 1
    assert warnings[0]["event_id"]


async def test_repeats_are_remembered_within_a_bound(make_handler, metrics):
    """The oldest event is forgotten, so that memory has an end."""
    handler = make_handler()
    handler._repeats = RepeatLog(metrics, most=2)
    for offset in (1, 2, 3, 1, 3):
        await handler.handle(replace(RECORD, offset=offset), 0.0)
    assert len(handler._repeats._digests) == 2
    assert _counted(metrics, "same") == 1


async def test_repeats_of_the_engine_are_equal(make_handler, publisher, tmp_path: Path):
    """In float32 a document read again among others has the event that it had alone, but for its timings."""
    folder = write_tiny_checkpoint(tmp_path)
    generator = InProcessGenerator.load(folder)
    handler = make_handler({"extractor": Extractor(generator, PromptTemplate.load(folder))})
    records = [Record("docs", 0, n, value=b'{"id": "d", "text": "Ada met Bob %d"}' % n) for n in range(6)]
    try:
        for record in records:
            await handler.handle(record, 0.0)
        await asyncio.gather(*(handler.handle(record, 0.0) for record in reversed(records)))
    finally:
        await generator.close()
    events = [EntityEvent.model_validate_json(message.value) for message in publisher.sent]
    first = {event.event_id: event for event in events[:6]}
    assert [differences(first[event.event_id], event) for event in events[6:]] == [[]] * 6
    assert any(event.entities or event.removed for event in events)
