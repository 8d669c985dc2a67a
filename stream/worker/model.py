"""Model named by the settings, ready to serve."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stream.contract.messages import Document, ModelInfo, Policy
from stream.errors import InferenceModelChanged
from stream.generation import Completion, Generator, ModelStamp, Prompt
from stream.ner.calibration import Calibration
from stream.ner.extractor import Extraction, Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Inference, Settings
from stream.worker.metrics import WorkerMetrics

MakeGenerator = Callable[[Settings, Path, WorkerMetrics], Awaitable[Generator]]


class DocumentExtractor(Protocol):
    """Extraction of one document, such as ``stream.ner.extractor.Extractor``."""

    async def extract(self, document: Document) -> Extraction:
        """Find the entities of one document.

        Raises:
            stream.errors.InferenceError: The model did not answer.
        """
        ...


class Readiness(Protocol):
    """Readiness of a model, such as a ``stream.generation.Generator``."""

    async def ready(self) -> bool:
        """Return whether a prompt sent now would be served.

        Raises:
            stream.errors.InferenceStopped: The model is gone for good.
        """
        ...


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Model as the worker serves it; ``policy`` counts where a document names none."""

    generator: Readiness
    extractor: DocumentExtractor
    info: ModelInfo
    default_labels: tuple[str, ...]
    policy: Policy
    calibration: Calibration | None = None

    def made_by(self, stamp: ModelStamp | None) -> ModelInfo:
        """Name the model that answered; what its server does not state is as in the worker's own folder."""
        if stamp is None:
            return self.info
        return self.info.model_copy(
            update={
                "name": stamp.name or self.info.name,
                "version": stamp.version or self.info.version,
                "checkpoint": stamp.checkpoint,
            }
        )


@dataclass(slots=True)
class PromptCount:
    """Prompts of one document.

    Attributes:
        completed: Prompts that the model completed.
        lost: Tries during which the model server failed while it had a prompt.
        model: The model that completed them, as far as its server says; None before the first.
    """

    completed: int = 0
    lost: int = 0
    model: ModelStamp | None = None

    def note(self, completion: Completion) -> None:
        """Count a completion.

        Raises:
            InferenceModelChanged: Another model made it than the ones before.
        """
        if self.completed and completion.model != self.model:
            raise InferenceModelChanged(f"{completion.model} answered after {self.model}")
        self.model = completion.model
        self.completed += 1


_document_prompts: ContextVar[PromptCount | None] = ContextVar("document_prompts", default=None)


def count_prompts() -> PromptCount:
    """Count the prompts of the present task and of the tasks that it starts from now on."""
    prompts = PromptCount()
    _document_prompts.set(prompts)
    return prompts


def _note_lost_prompt() -> None:
    if (prompts := _document_prompts.get()) is not None:
        prompts.lost += 1


class _CountingGenerator:
    """Generator that counts completions, in total and for the document that asked."""

    def __init__(self, generator: Generator, on_completion: Callable[[], None]) -> None:
        self._generator = generator
        self._on_completion = on_completion
        self.ready = generator.ready
        self.close = generator.close

    @property
    def trouble(self) -> str | None:
        """Cause for which the model cannot be reached, where it is known."""
        return getattr(self._generator, "trouble", None)

    async def generate(self, prompt: Prompt) -> Completion:
        completion = await self._generator.generate(prompt)
        self._on_completion()
        if (prompts := _document_prompts.get()) is not None:
            prompts.note(completion)
        return completion


async def make_generator(settings: Settings, folder: Path, metrics: WorkerMetrics) -> Generator:
    """Make the client of Triton, or load the engine into this process, beside the event loop.

    Raises:
        stream.errors.CheckpointError: The engine cannot run the model folder.
    """
    if settings.inference is Inference.IN_PROCESS:
        return await asyncio.to_thread(_load_engine, settings, folder)
    from stream.inference.servers import server_generator  # noqa: PLC0415 - half a second of gRPC

    metrics.breaker("closed")
    return server_generator(
        settings, on_breaker_change=metrics.breaker, on_lost=_note_lost_prompt, watch=metrics
    )


def serve_with(
    settings: Settings,
    template: PromptTemplate,
    generator: Generator,
    metrics: WorkerMetrics,
    on_completion: Callable[[], None],
) -> ServedModel:
    """Put template and generator together."""
    config = template.config
    info = ModelInfo(name=config.name, version=config.version, template_hash=config.template_hash)
    metrics.model_is(info, config)
    counting = _CountingGenerator(generator, on_completion)
    return ServedModel(
        generator=counting,
        extractor=Extractor(counting, template, policy=settings.policy, threshold=settings.threshold),
        info=info,
        default_labels=config.default_labels,
        policy=settings.policy or config.policy,
        calibration=config.calibration,
    )


def _load_engine(settings: Settings, folder: Path) -> Generator:
    from stream.engine.decoder import EngineOptions  # noqa: PLC0415 - needs the extra [local]
    from stream.inference.in_process import InProcessGenerator  # noqa: PLC0415

    return InProcessGenerator.load(folder, EngineOptions.from_settings(settings))
