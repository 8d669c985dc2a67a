"""A model opened in this process, for commands that need no broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stream.bundled import model_folder
from stream.engine.decoder import Decoder
from stream.engine.strategy import Strategy
from stream.engine.trace import OnPass
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model that extracts.

    Attributes:
        folder: Its checkpoint.
        template: Its prompts.
        generator: What runs it.
        extractor: What asks it, with the settings' policy and threshold.
    """

    folder: Path
    template: PromptTemplate
    generator: InProcessGenerator
    extractor: Extractor

    @property
    def passes(self) -> int:
        """Forward passes run so far."""
        return self.generator.decoder.statistics().passes


@asynccontextmanager
async def open_model(
    folder: Path | None, *, on_pass: OnPass | None = None, strategy: Strategy = Strategy.DRAFTS
) -> AsyncIterator[OpenModel]:
    """Open a model folder, or else the settings' one, or else the bundled one.

    Args:
        folder: The model.
        on_pass: Told of every forward pass; they are then run one after the other.
        strategy: How next tokens are found.

    Raises:
        CheckpointError: The folder holds no model that can be served.
    """
    settings = Settings()
    chosen = model_folder(folder or settings.model)
    template = PromptTemplate.load(chosen)
    threads = settings.engine_threads if on_pass is None else 1
    generator = InProcessGenerator(
        Decoder.load(
            chosen,
            threads=threads,
            strategy=strategy,
            grounded=settings.grounded,
            int8=settings.int8,
            on_pass=on_pass,
        )
    )
    try:
        yield OpenModel(
            chosen,
            template,
            generator,
            Extractor(generator, template, policy=settings.policy, threshold=settings.threshold),
        )
    finally:
        await generator.close()
