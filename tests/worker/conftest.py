"""Seams of the worker, scripted."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from stream.contract.messages import Coverage, Document, Entity, ModelInfo, Policy
from stream.contract.record import Record
from stream.ner.extractor import Extraction
from stream.settings import Settings
from stream.worker.handler import Handler
from stream.worker.health_state import DependencyStatus, HealthState
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import ServedModel
from stream.worker.publisher import KeyRequired, MessageTooLarge, Outgoing


class ScriptedModel:
    """Extractor and generator in one: plays its script (errors, or seconds to take), then answers at once.

    Probes of the worker are no part of the script: they fail with ``probe_error``, or are answered at once.
    """

    def __init__(self) -> None:
        self.script: list[BaseException | float] = []
        self.probe_error: BaseException | None = None
        self.is_ready = True
        self.asked = 0

    async def extract(self, document: Document) -> Extraction:
        """Two entities, of a known and an unknown label."""
        if document.id == "probe":
            if self.probe_error is not None:
                raise self.probe_error
            return answer_to(document)
        self.asked += 1
        answer = self.script.pop(0) if self.script else 0.0
        if isinstance(answer, BaseException):
            raise answer
        await asyncio.sleep(answer)
        return answer_to(document)

    async def ready(self) -> bool:
        """As scripted."""
        return self.is_ready


def answer_to(document: Document) -> Extraction:
    """Entities of a document: its first character under a known and an unknown label."""
    entity = Entity(text=document.text[:1], label="person", start=0, end=1, score=0.9, count_score=0.8)
    other = entity.model_copy(update={"label": "made up"})
    return Extraction(
        entities=[entity, other],
        removed=[],
        coverage=Coverage(windows=1, characters=len(document.text)),
        labels=["person"],
        counts={"person": 1},
        timings={"count": 1.0, "mention": 2.0, "total": 3.0},
    )


class RecordingPublisher:
    """A publisher that keeps its messages; topics can have limits, and can want keys."""

    largest = 10_000_000

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.passed_over: list[Record] = []
        self.limits: dict[str, int] = {}
        self.compacted: set[str] = set()

    async def publish(self, *outcome: Outgoing) -> None:
        """Keep the messages of an outcome that their topics take."""
        for message in outcome:
            if message.bytes > self.limits.get(message.topic, self.largest):
                raise MessageTooLarge(f"{message.bytes} bytes")
            if message.key is None and message.topic in self.compacted:
                raise KeyRequired(message.topic)
            self.sent.append(message)

    async def pass_over(self, record: Record) -> None:
        """Keep a record that has no message."""
        self.passed_over.append(record)


@pytest.fixture
def metrics() -> WorkerMetrics:
    """Fresh metrics."""
    return WorkerMetrics()


@pytest.fixture
def health(metrics: WorkerMetrics) -> HealthState:
    """Health of a worker that has just started."""
    return HealthState(model=DependencyStatus("model", metrics), broker=DependencyStatus("broker", metrics))


@pytest.fixture
def model() -> ScriptedModel:
    """A model that answers at once unless it is scripted."""
    return ScriptedModel()


@pytest.fixture
def served(model: ScriptedModel) -> ServedModel:
    """The scripted model, served."""
    info = ModelInfo(name="tiny", version="1", template_hash="0" * 16)
    return ServedModel(
        generator=model, extractor=model, info=info, default_labels=("person",), policy=Policy.PAPER
    )


@pytest.fixture
def publisher() -> RecordingPublisher:
    """Keeps all messages."""
    return RecordingPublisher()


@pytest.fixture
def make_handler(
    served: ServedModel, publisher: RecordingPublisher, metrics: WorkerMetrics
) -> Callable[..., Handler]:
    """A handler over the scripted seams; ``model`` are attributes of the served one, options are settings."""

    def make(model: Mapping[str, Any] = {}, *, values: Any = None, **options: Any) -> Handler:
        chosen = replace(served, **model)
        scripted: Any = publisher
        status = DependencyStatus("model", metrics)
        return Handler(Settings(**options), chosen, scripted, metrics, status, values=values)

    return make


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr("stream.worker.extraction.pauses", lambda **_: itertools.repeat(0.0))
