"""Documents that a model server fails on, and documents that are refused alike."""

import asyncio
import itertools
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from stream.contract.messages import Document
from stream.errors import (
    InferenceBreach,
    InferenceCrash,
    InferenceRejected,
    InferenceUnavailable,
    InferenceUnclear,
)
from stream.worker import model as served_model
from stream.worker.extraction import RetryingExtractor
from stream.worker.health_state import DependencyStatus
from tests.worker.conftest import ScriptedModel, answer_to


class MortalServer:
    """A model server that dies of documents with ``KILL`` in their text, takes others along, and returns.

    Attributes:
        deaths: How often it died.
        company: For each death, the texts of the other documents in flight.
    """

    def __init__(self, *, back_after: float = 0.02) -> None:
        self._back_after = back_after
        self._up = asyncio.Event()
        self._up.set()
        self._died = asyncio.Event()
        self._texts: list[str] = []
        self.deaths = 0
        self.company: list[list[str]] = []

    async def extract(self, document: Document):
        """Answer after a moment, or die."""
        if not self._up.is_set():
            raise InferenceUnavailable("failed to connect")
        died = self._died
        self._texts.append(document.text)
        try:
            if "KILL" in document.text:
                self.die(but=document.text)
            if (await asyncio.wait({asyncio.create_task(died.wait())}, timeout=0.01))[0]:
                served_model._note_lost_prompt()
                raise InferenceUnavailable("Socket closed")
        finally:
            self._texts.remove(document.text)
        return answer_to(document)

    def die(self, but: str = "") -> None:
        """Die now, and return."""
        self.deaths += 1
        self.company.append([text for text in self._texts if text != but])
        self._up.clear()
        self._died.set()
        self._died = asyncio.Event()
        asyncio.get_running_loop().call_later(self._back_after, self._up.set)

    async def ready(self) -> bool:
        """While it lives."""
        return self._up.is_set()


@pytest.fixture
def status(metrics):
    """Status of the model."""
    return DependencyStatus("model", metrics)


@pytest.fixture
def extractor(served, metrics, status, monkeypatch):
    """Extracts with a model, without long pauses."""
    monkeypatch.setattr("stream.worker.extraction.pauses", lambda **_: itertools.repeat(0.005))
    monkeypatch.setattr("stream.worker.extraction._SPREAD", 0.02)

    def make(model) -> RetryingExtractor:
        return RetryingExtractor(
            replace(served, generator=model, extractor=model), deadline=30.0, metrics=metrics, status=status
        )

    return make


@pytest.mark.parametrize("killers", [1, 3])
async def test_suspects_that_kill_the_server_are_found(extractor, killers):
    """Each document that the server dies of is given up after a few deaths; its neighbours are answered."""
    server = MortalServer()
    extract = extractor(server).extract
    texts = [f"KILL {n}" for n in range(killers)] + [f"Ada {n}" for n in range(20)]
    documents = [Document(id=text, text=text) for text in texts]
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*map(extract, documents), return_exceptions=True)
    crashed = [
        text for text, outcome in zip(texts, outcomes, strict=True) if isinstance(outcome, InferenceCrash)
    ]
    assert crashed == texts[:killers]
    assert not any(isinstance(outcome, Exception) for outcome in outcomes[killers:])
    assert server.deaths <= 4 * killers
    assert sum(not others for others in server.company) >= 2 * killers


async def test_suspects_verdict_names_its_grounds(extractor):
    """The error says how often the server failed on this document alone, and what it said."""
    with pytest.raises(
        InferenceCrash, match=r"failed 2 times in a row on this document alone.*Socket closed"
    ):
        await asyncio.wait_for(extractor(MortalServer()).extract(Document(id="k", text="KILL")), 10)


async def test_suspects_are_cleared_when_the_server_dies_by_itself(extractor):
    """A server that dies again and again of nothing has every document answered in the end."""
    server = MortalServer()
    extract = extractor(server).extract

    async def deaths() -> None:
        for _ in range(8):
            server.die()
            await asyncio.sleep(0.05)

    dying = asyncio.create_task(deaths())
    async with asyncio.timeout(20):
        await asyncio.gather(*(extract(Document(id=str(n), text=f"Ada {n}")) for n in range(40)))
    await dying


async def test_suspects_are_none_where_the_server_never_had_them(extractor):
    """A server that cannot be reached while its probe is answered elsewhere blames nobody, however often."""

    class Unreachable(ScriptedModel):
        pass

    model = Unreachable()
    model.script = [InferenceUnavailable("failed to connect")] * 50
    assert await asyncio.wait_for(extractor(model).extract(Document(id="d", text="Ada")), 10)


class Refusing(ScriptedModel):
    """A model that refuses all documents but its probes, in words that differ in numbers."""

    def __init__(self, error: type[InferenceRejected] = InferenceUnclear) -> None:
        super().__init__()
        self.refuses = True
        self.error = error

    async def extract(self, document: Document):
        """Refuse, or answer."""
        if document.id == "probe" or document.text == "good" or not self.refuses:
            return answer_to(document)
        self.asked += 1
        raise self.error(f"INTERNAL: unspecified launch failure {self.asked}")


def _documents(count: int) -> list[Document]:
    return [Document(id=str(n), text=f"Ada {n}") for n in range(count)]


@pytest.mark.parametrize("error", [InferenceUnclear, InferenceBreach])
async def test_refusals_alike_are_an_outage(extractor, metrics, status, error):
    """Documents refused with the same words wait, with an alarm in log and metrics, for the answer."""
    model = Refusing(error)
    extract = extractor(model).extract
    with capture_logs() as logs:
        waiting = [asyncio.create_task(extract(document)) for document in _documents(10)]
        async with asyncio.timeout(10):
            while model.asked < 100:  # noqa: ASYNC110 - the model has no event
                await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        assert metrics.registry.get_sample_value("padellm_refused_alike") == 10
        assert "10 documents in a row are refused alike" in status.cause
        model.refuses = False
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["documents refused alike"]
    assert metrics.registry.get_sample_value("padellm_refused_alike") == 0
    assert status.cause is None


async def test_refusals_alike_are_the_documents_own_once_another_is_answered(extractor):
    """The model answers another document meanwhile: those it still refuses are given up."""
    model = Refusing()
    extract = extractor(model).extract
    waiting = [asyncio.create_task(extract(document)) for document in _documents(5)]
    async with asyncio.timeout(10):
        while model.asked < 50:  # noqa: ASYNC110 - the model has no event
            await asyncio.sleep(0.01)
        assert await extract(Document(id="g", text="good"))
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {InferenceUnclear}


async def test_refusals_alike_are_held_for_a_bounded_time(extractor, monkeypatch):
    """Documents that nobody mends the model for are given up in the end."""
    monkeypatch.setattr("stream.worker.refusals._LONGEST_HOLD", 0.1)
    extract = extractor(Refusing()).extract
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*map(extract, _documents(5)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {InferenceUnclear}


async def test_refusals_that_blame_the_request_are_no_outage(extractor):
    """A refusal whose words say that the request is at fault is given up at once, however many there are."""
    model = Refusing(InferenceRejected)
    outcomes = await asyncio.gather(*map(extractor(model).extract, _documents(10)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {InferenceRejected}
    assert model.asked == 20
