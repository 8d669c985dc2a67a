"""The Python API: a model in this process that extracts entities from texts, with or without asyncio."""

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from stream.aio import loop_factory
from stream.annotation.job import AnnotationReport, AnnotationTask, annotate_texts
from stream.annotation.partial_output import PartialOutput
from stream.annotation.sources import Selection
from stream.bundled import model_folder
from stream.contract.messages import Document, Entity, Policy
from stream.corpora.formats import FORMATS, format_named, format_of
from stream.engine.decoder import Decoder, EngineOptions
from stream.engine.model.session import Model
from stream.engine.trace import OnPass
from stream.errors import ConfigurationError, InferenceUnavailable
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extraction, Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings

__all__ = [
    "AnnotationReport",
    "Entity",
    "Extraction",
    "Labels",
    "NerModel",
    "Policy",
    "annotate",
    "open_model",
]

Labels = Sequence[str] | Mapping[str, str]
"""Entity types to look for: names, or names with their definitions."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model and its extractor, used from one event loop.

    Attributes:
        folder: The checkpoint.
        template: Its prompts.
        generator: The engine.
        extractor: With the policy and threshold of the settings.
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


def load(
    model: Path | None,
    *,
    on_pass: OnPass | None = None,
    open_decoder: OpenDecoder = Decoder,
    threads: int | None = None,
    int8: bool | None = None,
) -> LoadedModel:
    """Load a model folder, or else the settings' model, or else the bundled one.

    Args:
        model: A folder, or the name of a bundled model.
        on_pass: Called with a trace of every forward pass; passes then run one after the other.
        open_decoder: Opens the decoder.
        threads: Of the engine; None: the settings'.
        int8: Whether its products are of 8-bit integers; None: the settings'.

    Raises:
        CheckpointError: The folder holds no model that can be served.
    """
    settings = Settings()
    folder = model_folder(model or settings.model)
    template = PromptTemplate.load(folder)
    options = EngineOptions.from_settings(settings)
    if threads is not None:
        options = replace(options, threads=threads)
    if int8 is not None:
        options = replace(options, int8=int8)
    if on_pass is not None:
        options = replace(options, threads=1)
    engine_model = Model.load(
        folder, threads=options.threads, int8=options.int8, graph_cache=options.graph_cache
    )
    generator = InProcessGenerator(open_decoder(engine_model, options, on_pass=on_pass))
    extractor = Extractor(generator, template, policy=settings.policy, threshold=settings.threshold)
    return LoadedModel(folder, template, generator, extractor)


@asynccontextmanager
async def loaded(
    model: Path | None,
    *,
    on_pass: OnPass | None = None,
    open_decoder: OpenDecoder = Decoder,
    threads: int | None = None,
    int8: bool | None = None,
) -> AsyncIterator[LoadedModel]:
    """``load``, closed at the end, for commands that ask the generator itself."""
    opened = load(model, on_pass=on_pass, open_decoder=open_decoder, threads=threads, int8=int8)
    try:
        yield opened
    finally:
        await opened.generator.close()


def open_model(model: str | Path | None = None) -> "NerModel":
    """Open a model for extraction; ``PADELLM_*`` variables set its threads, int8, policy and threshold.

    Args:
        model: A model folder, or the name of a bundled model. Default: ``PADELLM_MODEL``, else the bundled
            English model.

    Raises:
        stream.errors.CheckpointError: The folder holds no model that can be served.
    """
    return NerModel(load(None if model is None else Path(model)))


class NerModel:
    """Extracts entities; every method may be called from any thread and any event loop.

    The engine runs in threads of its own. Close the model when done, or use it in a ``with`` or
    ``async with`` block.
    """

    def __init__(self, loaded_model: LoadedModel) -> None:
        self._loaded = loaded_model
        self._closed = False
        self._lock = threading.Lock()
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(started,), name="padellm-model", daemon=True
        )
        self._thread.start()
        self._loop, self._stopping = started.result()

    @property
    def default_labels(self) -> tuple[str, ...]:
        """Entity types that the model looks for when a call names none."""
        return self._loaded.template.config.default_labels

    def extract(
        self,
        text: str,
        *,
        labels: Labels | None = None,
        threshold: float | None = None,
        policy: Policy | None = None,
    ) -> Extraction:
        """Find the entities of one text; blocks until they are found.

        Args:
            text: Any language, any length, not empty.
            labels: Entity types. Default: the model's.
            threshold: Lowest score, in [0, 1]. Default: ``PADELLM_THRESHOLD``.
            policy: De-duplication. Default: ``PADELLM_POLICY``, else the model's.

        Returns:
            The entities, with offsets in code points; ``text[entity.start:entity.end] == entity.text``.

        Raises:
            ValueError: An argument is outside its range.
            stream.errors.InferenceError: The engine failed, or the model is closed.
        """
        return self._submit(_document(text, labels, threshold, policy)).result()

    async def extract_async(
        self,
        text: str,
        *,
        labels: Labels | None = None,
        threshold: float | None = None,
        policy: Policy | None = None,
    ) -> Extraction:
        """``extract`` for asyncio; cancelling the caller cancels the extraction."""
        return await asyncio.wrap_future(self._submit(_document(text, labels, threshold, policy)))

    def extract_many(
        self,
        texts: Iterable[str],
        *,
        labels: Labels | None = None,
        threshold: float | None = None,
        policy: Policy | None = None,
        in_flight: int = 64,
    ) -> Iterator[Extraction]:
        """Find the entities of many texts, ``in_flight`` of them at once; the results keep the order.

        Texts are taken from the iterable as places become free, so that it may be endless.

        Raises:
            ValueError: An argument is outside its range.
            stream.errors.InferenceError: The engine failed, or the model is closed.
        """
        documents = (_document(text, labels, threshold, policy) for text in texts)
        waiting = deque(self._submit(document) for document in islice(documents, in_flight))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(self._submit(document) for document in islice(documents, 1))
        finally:
            for future in waiting:
                future.cancel()

    async def extract_many_async(
        self,
        texts: Iterable[str],
        *,
        labels: Labels | None = None,
        threshold: float | None = None,
        policy: Policy | None = None,
        in_flight: int = 64,
    ) -> AsyncIterator[Extraction]:
        """``extract_many`` for asyncio."""
        documents = (_document(text, labels, threshold, policy) for text in texts)
        waiting = deque(self._submit(document) for document in islice(documents, in_flight))
        try:
            while waiting:
                yield await asyncio.wrap_future(waiting.popleft())
                waiting.extend(self._submit(document) for document in islice(documents, 1))
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """Stop the engine and cancel extractions in flight. A second call does nothing."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _submit(self, document: Document) -> Future[Extraction]:
        with self._lock:
            if self._closed:
                raise InferenceUnavailable("the model is closed: open it again with open_model()")
            return asyncio.run_coroutine_threadsafe(self._loaded.extractor.extract(document), self._loop)

    def _serve(self, started: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
        async def until_closed() -> None:
            stopping = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), stopping))
            await stopping.wait()
            await self._loaded.generator.close()

        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(until_closed())


def annotate(
    files: Iterable[str | Path],
    out: str | Path,
    *,
    to: str | None = None,
    texts: Iterable[str] = (),
    ids: str | None = None,
    whole_files: bool = False,
    labels: Labels | None = None,
    threshold: float | None = None,
    policy: Policy | None = None,
    model: str | Path | None = None,
    triton: str | None = None,
    skip_bad: bool = False,
    sure: float | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> AnnotationReport:
    """Annotate the texts of files, and write one file of annotated documents.

    A run that ended early, for whatever reason, goes on where it was when the call is made again. Until the
    output is complete its lines are in ``OUT.partial``.

    Args:
        files: JSON Lines, CSV or TSV, Parquet, or plain text with a document a line; gzipped or not.
        out: The file to write; for brat a folder.
        to: Its format, such as ``conll``, ``spacy`` or ``brat``. Default: by its ending.
        texts: JSON Pointers of the texts in JSON Lines, or columns. Default: ``/text``, ``text``.
        ids: The same of the document id. Default: ``/id``, ``id``, or else file name and row.
        whole_files: A file of plain text is one document.
        labels: Entity types. Default: the model's.
        threshold: Lowest score. Default: ``PADELLM_THRESHOLD``.
        policy: De-duplication. Default: ``PADELLM_POLICY``, else the model's; without overlap for formats
            that hold none.
        model: A model folder, or the name of a bundled model. Default: as ``open_model``.
        triton: Address of a Triton server to ask, host:port. Default: the engine in this process, on all
            cores unless ``PADELLM_ENGINE_THREADS`` is set.
        skip_bad: Leave out what is no text, with its reason in the report. By default it ends the run.
        sure: For a training set, in [0, 1]: keep a label of a text only where the model gives each of its
            answers at least this probability, and name the labels kept. JSON Lines alone can name them.
        on_progress: Called with the number of texts done, those of earlier runs included.

    Raises:
        stream.errors.ConfigurationError: A file, a column, a text or an option is bad; names it.
        stream.errors.CheckpointError: The folder holds no model that can be served.
        stream.errors.InferenceUnavailable: The model is gone.
    """
    target = format_named(to) if to else format_of(Path(out), "to (--to)")
    if sure is not None and target is not FORMATS["jsonl"]:
        raise ConfigurationError(
            f"sure (--sure) needs JSON Lines, which alone can say what is kept, not {out}"
        )
    if policy is None and not target.overlap:
        policy = Policy.FLAT
    task = AnnotationTask(
        files=[Path(file) for file in files],
        selection=Selection(tuple(texts), ids, whole_files=whole_files),
        labels=_as_asked(labels),
        policy=policy,
        threshold=threshold,
        skip_bad=skip_bad,
        sure=sure,
    )
    folder = None if model is None else Path(model)

    async def run() -> AnnotationReport:
        async with _asked_model(folder, triton) as (extractor, question):
            asked = task.question() | question
            with PartialOutput(Path(out), target, asked, skip_bad=skip_bad) as output:
                return await annotate_texts(task, extractor, output, on_progress or (lambda _: None))

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(run())


@asynccontextmanager
async def _asked_model(
    model: Path | None, triton: str | None
) -> AsyncIterator[tuple[Extractor, dict[str, Any]]]:
    """A model on all cores or behind a server, and all about it that decides its answers."""
    settings = Settings()
    if triton is None:
        threads = None if "engine_threads" in settings.model_fields_set else os.cpu_count()
        async with loaded(model, threads=threads) as opened:
            engine = {"int8": settings.int8, "constrained": settings.constrained}
            yield opened.extractor, _identity(opened.template, opened.extractor) | engine
        return
    from stream.inference.triton import TritonGenerator  # noqa: PLC0415 - half a second of gRPC

    template = PromptTemplate.load(model_folder(model or settings.model))
    generator = TritonGenerator(triton, in_flight=settings.triton_in_flight)
    try:
        if not await generator.ready():
            raise InferenceUnavailable(f"no model answers at {triton}: start one with padellm up")
        extractor = Extractor(generator, template, policy=settings.policy, threshold=settings.threshold)
        yield extractor, _identity(template, extractor)
    finally:
        await generator.close()


def _identity(template: PromptTemplate, extractor: Extractor) -> dict[str, Any]:
    config = template.config
    return {
        "model": [config.name, config.version, config.template_hash],
        "defaults": [extractor.policy, extractor.threshold],
    }


def _as_asked(labels: Labels | None) -> list[str] | dict[str, str] | None:
    return dict(labels) if isinstance(labels, Mapping) else None if labels is None else list(labels)


def _document(text: str, labels: Labels | None, threshold: float | None, policy: Policy | None) -> Document:
    return Document(text=text, labels=_as_asked(labels), threshold=threshold, policy=policy)
