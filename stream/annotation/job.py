"""Annotation of files: many texts at once, their lines in order."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from stream.annotation.partial_output import PartialOutput
from stream.annotation.sources import Selection, SourceText, texts_of
from stream.contract.messages import Document, Policy
from stream.errors import ConfigurationError, InferenceError, InferenceUnavailable
from stream.ner.extractor import Extraction

_FINISHED_AHEAD = 1024  # texts that may be finished before one that takes long
_FLUSH_EVERY = 20


class TextExtractor(Protocol):
    """Extraction of one document, such as ``stream.ner.extractor.Extractor``."""

    async def extract(self, document: Document, *, sure: float | None = None) -> Extraction:
        """Find the entities of one document, of all labels or of those that the model is sure of."""
        ...


@dataclass(frozen=True, slots=True)
class AnnotationTask:
    """The texts to annotate, and what to look for.

    Attributes:
        files: In their order.
        selection: The texts in them.
        labels: Entity types; None: the model's.
        policy: De-duplication; None: the model's.
        threshold: Lowest score; None: the settings'.
        in_flight: Texts at the model at once.
        skip_bad: Leave out what is no text, and texts that the model refuses, each with its reason.
        sure: Keep a label of a text only where the model gives each of its answers, a count of none too, at
            least this probability; the lines name the labels kept. None: keep all.
    """

    files: Sequence[Path]
    selection: Selection = field(default_factory=Selection)
    labels: list[str] | dict[str, str] | None = None
    policy: Policy | None = None
    threshold: float | None = None
    in_flight: int = 64
    skip_bad: bool = False
    sure: float | None = None

    def question(self) -> dict[str, Any]:
        """All of it that decides the lines of the output, and the state of the files.

        Raises:
            ConfigurationError: A file is not there.
        """
        return {
            "files": [_state(file) for file in self.files],
            "texts": self.selection.texts,
            "id": self.selection.id,
            "whole_files": self.selection.whole_files,
            "labels": self.labels,
            "policy": self.policy,
            "threshold": self.threshold,
            "sure": self.sure,
        }

    def texts(self) -> Iterator[SourceText]:
        """The texts of all files."""
        return chain.from_iterable(texts_of(file, self.selection) for file in self.files)


def _state(file: Path) -> list[str | int]:
    try:
        state = file.stat()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    return [str(file.resolve()), state.st_size, state.st_mtime_ns]


@dataclass(slots=True)
class AnnotationReport:
    """Attributes: ``texts`` annotated in this run; ``before``, in others; ``entities``; ``problems``."""

    texts: int = 0
    before: int = 0
    entities: int = 0
    problems: list[str] = field(default_factory=list)


async def annotate_texts(
    task: AnnotationTask, extractor: TextExtractor, output: PartialOutput, on_progress: Callable[[int], None]
) -> AnnotationReport:
    """Annotate the texts that have no line yet, and complete the output.

    Args:
        task: The texts.
        extractor: The model.
        output: Entered.
        on_progress: Called with the number of texts that have their lines.

    Raises:
        ConfigurationError: A file cannot be read, or a text is bad and is not to be skipped; names the place.
        InferenceUnavailable: The model is gone; a later run goes on.
    """
    report = AnnotationReport(before=output.done)
    on_progress(output.done)
    places = asyncio.Semaphore(task.in_flight)
    texts = islice(task.texts(), output.done, None)
    waiting: deque[tuple[SourceText, asyncio.Task[Extraction | str]]] = deque()

    def take(most: int) -> None:
        for one in islice(texts, most):
            waiting.append((one, asyncio.create_task(_extraction(one, task, extractor, places))))

    try:
        take(_FINISHED_AHEAD)
        while waiting:
            one, extracting = waiting.popleft()
            _add(output, report, one, await extracting, task)
            take(1)
            if (report.texts + len(report.problems)) % _FLUSH_EVERY == 0:
                output.flush()
            on_progress(report.before + report.texts + len(report.problems))
    finally:
        output.flush()
        for _, extracting in waiting:
            extracting.cancel()
        await asyncio.gather(*(extracting for _, extracting in waiting), return_exceptions=True)
    output.complete()
    return report


async def _extraction(
    one: SourceText, task: AnnotationTask, extractor: TextExtractor, places: asyncio.Semaphore
) -> Extraction | str:
    """The entities of a text, or the reason why it has none."""
    if one.problem:
        return one.problem
    document = Document(text=one.text, labels=task.labels, policy=task.policy, threshold=task.threshold)
    async with places:
        try:
            return await extractor.extract(document, sure=task.sure)
        except InferenceUnavailable:
            raise
        except InferenceError as error:
            return f"the model fails on it: {error}"


def _add(
    output: PartialOutput,
    report: AnnotationReport,
    one: SourceText,
    found: Extraction | str,
    task: AnnotationTask,
) -> None:
    if isinstance(found, str):
        problem = f"{one.place}: {found}"
        if not task.skip_bad:
            raise ConfigurationError(f"{problem} (--skip-bad leaves it out, and goes on)")
        output.add_bad(problem)
        report.problems.append(problem)
        return
    entities = [
        {"start": each.start, "end": each.end, "text": each.text, "label": each.label, "score": each.score}
        for each in found.entities
    ]
    field_of = {} if one.field is None else {"field": one.field}
    labels_of = {} if task.sure is None else {"labels": found.labels}
    output.add({"id": one.id, **field_of, "text": one.text, "entities": entities, **labels_of})
    report.texts += 1
    report.entities += len(entities)
