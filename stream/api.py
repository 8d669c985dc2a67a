"""A model opened in this process, for commands that need no broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stream.bundled import model_folder
from stream.engine.decoder import Decoder, EngineOptions
from stream.engine.model.session import Model
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
        generator: The engine.
        extractor: Over the engine, with the settings' policy and threshold.
    """

    folder: Path
    template: PromptTemplate
    generator: InProcessGenerator
    extractor: Extractor

    @property
    def passes(self) -> int:
        """Forward passes run so far."""
        return self.generator.decoder.statistics().passes


class OpenDecoder(Protocol):
    """Opens a decoder over a model; ``Decoder`` itself is one."""

    def __call__(self, model: Model, options: EngineOptions, *, on_pass: OnPass | None) -> Decoder:
        """Open one."""
        ...


@asynccontextmanager
async def open_model(
    folder: Path | None, *, on_pass: OnPass | None = None, open_decoder: OpenDecoder = Decoder
) -> AsyncIterator[OpenModel]:
    """Open a model folder, or else the settings' one, or else the bundled one.

    Args:
        folder: The model.
        on_pass: Called with a trace of every forward pass; they then run one after the other.
        open_decoder: Opens the decoder.

    Raises:
        CheckpointError: The folder holds no model that can be served.
    """
    settings = Settings()
    chosen = model_folder(folder or settings.model)
    template = PromptTemplate.load(chosen)
    options = EngineOptions.from_settings(settings)
    if on_pass is not None:
        options = replace(options, threads=1)
    loaded = Model.load(chosen, threads=options.threads, int8=options.int8, graph_cache=options.graph_cache)
    generator = InProcessGenerator(open_decoder(loaded, options, on_pass=on_pass))
    try:
        yield OpenModel(
            chosen,
            template,
            generator,
            Extractor(generator, template, policy=settings.policy, threshold=settings.threshold),
        )
    finally:
        await generator.close()
