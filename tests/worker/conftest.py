"""Seams of the worker, scripted."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from stream.contract.messages import Coverage, Document, Entity, ModelInfo
from stream.ner.calibration import Calibration
from stream.ner.extractor import Extraction
from stream.settings import Settings
from stream.worker.handler import Handler, Served
from stream.worker.health_state import Outage
from stream.worker.metrics import Telemetry
from stream.worker.publisher import MessageTooLarge, Outgoing


class ScriptedModel:
    """Extractor and generator in one: plays its script (errors, or seconds to take), then answers at once."""

    def __init__(self) -> None:
        self.script: list[BaseException | float] = []
        self.is_ready = True
        self.asked = 0

    async def extract(self, document: Document) -> Extraction:
        """Two entities, of a known and an unknown label."""
        self.asked += 1
        answer = self.script.pop(0) if self.script else 0.0
        if isinstance(answer, BaseException):
            raise answer
        await asyncio.sleep(answer)
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

    async def ready(self) -> bool:
        """As told."""
        return self.is_ready


class RecordingOutbox:
    """An outbox that keeps what it is given; topics can have limits."""

    largest = 10_000_000

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.limits: dict[str, int] = {}

    async def publish(self, message: Outgoing) -> None:
        """Keep a message that its topic takes."""
        if message.bytes > self.limits.get(message.topic, self.largest):
            raise MessageTooLarge(f"{message.bytes} bytes")
        self.sent.append(message)


@pytest.fixture
def telemetry() -> Telemetry:
    """Fresh metrics."""
    return Telemetry()


@pytest.fixture
def model() -> ScriptedModel:
    """A model that answers at once until told otherwise."""
    return ScriptedModel()


@pytest.fixture
def outbox() -> RecordingOutbox:
    """Keeps what is sent."""
    return RecordingOutbox()


@pytest.fixture
def make_handler(
    model: ScriptedModel, outbox: RecordingOutbox, telemetry: Telemetry
) -> Callable[..., Handler]:
    """A handler over the scripted seams; other options are settings."""

    def make(calibration: Calibration | None = None, **options: Any) -> Handler:
        info = ModelInfo(name="tiny", version="1", template_hash="0" * 16)
        served: Any = Served(
            generator=model,
            extractor=model,
            info=info,
            default_labels=("person",),
            calibration=calibration,
        )
        return Handler(Settings(**options), served, outbox, telemetry, Outage("model", telemetry))

    return make


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr("stream.worker.handler.pauses", lambda **_: itertools.repeat(0.0))
