"""A model opened in this process, for commands that need no broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stream.inference.in_process import InProcessGenerator
from stream.ner.bundled import bundled_checkpoint
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model that extracts.

    Attributes:
        folder: Its checkpoint.
        generator: What runs it.
        extractor: What asks it, with the settings' policy and threshold.
    """

    folder: Path
    generator: InProcessGenerator
    extractor: Extractor

    @property
    def passes(self) -> int:
        """Forward passes run so far."""
        return self.generator.decoder.statistics().passes


@asynccontextmanager
async def open_model(folder: Path | None) -> AsyncIterator[OpenModel]:
    """Open a model folder, or else the settings' one, or else the bundled one.

    Raises:
        CheckpointError: The folder holds no model that can be served.
    """
    settings = Settings()
    chosen = folder or settings.model or bundled_checkpoint()
    template = PromptTemplate.load(chosen)
    generator = InProcessGenerator.load(chosen, threads=settings.engine_threads)
    try:
        yield OpenModel(
            chosen,
            generator,
            Extractor(generator, template, policy=settings.policy, threshold=settings.threshold),
        )
    finally:
        await generator.close()
