"""Work that the worker does for a document beside its model: counted, since time swings with the machine."""

import asyncio
import cProfile
import pstats

import pytest
import structlog

from stream.bench.instant_worker import InstantGenerator
from stream.contract.record import Record
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from stream.worker.handler import Handler
from stream.worker.intake import InFlightLimit, Intake
from stream.worker.model import serve_with
from stream.worker.offset_tracker import OffsetTracker
from tests.tiny_model import write_tiny_checkpoint

DOCUMENTS = 100
MOST_CALLS = 1_100  # 978 with Python 3.11; other versions count a few more or less
TASKS = 6  # the document's, its extraction's, and one for each of four labels


@pytest.fixture
async def intake(tmp_path, publisher, metrics, health):
    """A document's way to its message, over a model that answers at once, with the worker's level of logs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("info"))
    template = PromptTemplate.load(write_tiny_checkpoint(tmp_path))
    settings = Settings()
    model = serve_with(settings, template, InstantGenerator(template), metrics, metrics.completions.inc)
    handler = Handler(settings, model, publisher, metrics, health.model)
    limit = InFlightLimit(settings.max_in_flight, settings.max_message_bytes, metrics)
    yield Intake(handler.handle, OffsetTracker(), limit, health)
    structlog.reset_defaults()


async def _handle(intake: Intake, first: int) -> None:
    for offset in range(first, first + DOCUMENTS):
        record = Record(
            "docs", 0, offset, timestamp=1.0, key=b"key", value=b'{"text": "Ann met Bo in Rome."}'
        )
        await intake.admit(("docs", 0), 1, record, current=lambda: True)
    await intake.drain(60)


async def test_cost_of_a_document_is_bounded_in_calls(intake, publisher):
    """Functions called for a short document stay below a bound that a slow way back would pass."""
    await _handle(intake, 0)
    with cProfile.Profile() as profile:
        await _handle(intake, DOCUMENTS)
    assert len(publisher.sent) == 2 * DOCUMENTS
    assert pstats.Stats(profile).total_calls / DOCUMENTS < MOST_CALLS


async def test_cost_of_a_document_is_one_task_a_label_and_two(intake, publisher):
    """Nothing else of a document has a task: each is scheduled, switched to and collected."""
    started = []

    def make(loop, coroutine, **options):
        started.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(make)
    try:
        await _handle(intake, 0)
    finally:
        asyncio.get_running_loop().set_task_factory(None)
    assert len(publisher.sent) == DOCUMENTS
    assert len(started) == TASKS * DOCUMENTS
