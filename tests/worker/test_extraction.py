"""Retry policy toward the model."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from stream.contract.messages import Document
from stream.errors import (
    InferenceBusy,
    InferenceError,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
)
from stream.generation import Completion, Prompt
from stream.worker.extraction import RetryingExtractor
from stream.worker.health_state import DependencyStatus
from stream.worker.model import _CountingGenerator
from tests.worker.conftest import ScriptedModel, answer_to

DOCUMENT = Document(id="d", text="Ada")


class OneAtATime:
    """A model that takes its time for each document and serves them in the order of their arrival."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turn = asyncio.Lock()

    async def extract(self, document: Document):
        """Wait for the turn, then answer."""
        async with self._turn:
            await asyncio.sleep(self._seconds)
        return answer_to(document)

    async def ready(self) -> bool:
        """Always."""
        return True


class HangsOn:
    """A model that never answers one document and answers all others."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def extract(self, document: Document):
        """Answer, or never."""
        if document.text == self._text:
            await asyncio.Event().wait()
        return answer_to(document)

    async def ready(self) -> bool:
        """Always."""
        return True


@pytest.fixture
def status(metrics):
    """Status of the model."""
    return DependencyStatus("model", metrics)


@pytest.fixture
def extractor(served, metrics, status):
    """Extracts with a model, by default the scripted one."""

    def make(model=None, *, deadline: float = 30.0) -> RetryingExtractor:
        if model is not None:
            chosen = replace(served, generator=model, extractor=model)
        return RetryingExtractor(
            served if model is None else chosen, deadline=deadline, metrics=metrics, status=status
        )

    return make


async def test_extraction_overload_makes_no_dead_letter(extractor):
    """A model that serves one document at a time under a full load: every document is answered."""
    extract = extractor(OneAtATime(0.02), deadline=0.1).extract
    documents = [Document(id=str(n), text=f"Ada {n}") for n in range(64)]
    assert len(await asyncio.gather(*map(extract, documents))) == 64


async def test_extraction_gives_a_document_up_that_others_overtake(extractor):
    """A document that hangs the model for itself alone is given up after the deadline."""
    hanging = extractor(HangsOn("Ada"), deadline=0.05)
    with pytest.raises(InferenceTimeout, match=r"no answer for 0 s.*PADELLM_DOCUMENT_DEADLINE"):
        await asyncio.wait_for(hanging.extract(DOCUMENT), timeout=5)
    assert await hanging.extract(Document(id="e", text="Eva"))


async def test_extraction_waits_while_the_model_answers_nobody(extractor, model):
    """A model that leaves everyone without an answer, or is not ready, makes no document fail."""
    model.script, model.probe_error = [0.3], InferenceTimeout("slow")
    assert await extractor(deadline=0.05).extract(DOCUMENT)
    model.script, model.probe_error, model.is_ready = [0.3], None, False
    assert await extractor(deadline=0.05).extract(DOCUMENT)


async def test_extraction_long_document_may_outlast_the_deadline(extractor):
    """A document whose prompts are answered one by one may take longer than the deadline."""

    class Long(ScriptedModel):
        async def extract(self, document: Document):
            if document.id == "probe":
                return answer_to(document)
            for _ in range(10):
                await asyncio.sleep(0.04)
                await generator.generate(Prompt((1,), 1, 0))
            return answer_to(document)

    class Instant:
        async def generate(self, prompt: Prompt) -> Completion:
            return Completion((), ())

        async def ready(self) -> bool:
            return True

        async def close(self) -> None:
            """Nothing."""

    generator = _CountingGenerator(Instant(), lambda: None)
    assert await extractor(Long(), deadline=0.1).extract(DOCUMENT)


@pytest.mark.parametrize(
    ("error", "tries"),
    [(InferenceTimeout("slow"), 3), (InferenceRejected("no"), 2), (InferenceError("failed pass"), 3)],
)
async def test_extraction_tries_again_before_a_document_fails(extractor, model, no_pauses, error, tries):
    """A failure less than the limit is made good; at the limit it is raised, since a probe is answered."""
    model.script = [error] * (tries - 1)
    assert await extractor().extract(DOCUMENT)
    model.script = [error] * tries
    with pytest.raises(type(error)):
        await extractor().extract(DOCUMENT)


@pytest.mark.parametrize(
    "error", [InferenceTimeout("slow"), InferenceRejected("no such model"), InferenceError("out of memory")]
)
async def test_extraction_failure_of_everyone_is_an_outage(extractor, model, status, error):
    """A model that refuses a probe as well is unavailable: the document waits for its recovery."""
    model.script, model.probe_error = [error] * 1000, error
    waiting = asyncio.create_task(extractor().extract(DOCUMENT))
    async with asyncio.timeout(10):
        while "probe" not in (status.cause or ""):  # noqa: ASYNC110 - the status has no event
            await asyncio.sleep(0.01)
    assert not waiting.done()
    model.script, model.probe_error = [], None
    assert await asyncio.wait_for(waiting, timeout=10)
    assert status.cause is None


async def test_extraction_sits_out_an_outage(extractor, model, no_pauses):
    """However often the model is unavailable, the document is extracted in the end."""
    model.script = [InferenceUnavailable("away")] * 50
    assert await extractor(deadline=0.01).extract(DOCUMENT)


async def test_extraction_full_queue_is_no_outage(extractor, model, status, no_pauses):
    """A model whose queue is full answers others, and is not reported as unavailable."""
    status.worked("probe")
    model.script = [InferenceBusy("queue full")] * 3
    with capture_logs() as logs:
        assert await extractor().extract(DOCUMENT)
    assert logs == []


async def test_extraction_cancelled_takes_its_prompts_back(extractor):
    """A cancelled extraction leaves no task behind."""
    before = len(asyncio.all_tasks())
    task = asyncio.create_task(extractor(HangsOn("Ada"), deadline=60).extract(DOCUMENT))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == before
