"""A document to its entities, by parallel decoding (PaDeLLM-NER, section 3.2).

All count prompts of a window leave together; a label's mention prompts leave as soon as its count is back.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from stream.inference.generator import Generator
from stream.messages import Coverage, Document, Entity, Policy, Removed
from stream.ner.deduplicate import deduplicate
from stream.ner.labels import LabelPrompt, LabelPrompts
from stream.ner.reading import Reader, Reading, WindowReader
from stream.ner.stitching import stitch
from stream.ner.tasks import all_of
from stream.ner.template import PromptTemplate
from stream.ner.windows import Window, unread, windows

Found = TypeVar("Found", Entity, Removed)


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was found in a document.

    Attributes:
        entities: In the order of the text; ``document.text[entity.start:entity.end] == entity.text``.
        removed: What the model produced that is not among the entities, and why.
        coverage: What was read.
        labels: The labels looked for, as the document named them.
        counts: Mentions that the model counted for each label, windows added up; a label is absent where
            one of its counts could not be read.
        timings: Milliseconds; ``count`` and ``mention`` of the slowest window, ``total`` of everything.
    """

    entities: list[Entity]
    removed: list[Removed]
    coverage: Coverage
    labels: list[str]
    counts: dict[str, int]
    timings: dict[str, float]


class Extractor:
    """Extracts the entities of documents; any number of documents may be extracted at once.

    Args:
        generator: Runs the model.
        template: The checkpoint's prompts.
        policy: De-duplication where a document names none.
        threshold: Lowest score where a document names none.
        windows_in_flight: Windows of one document read at once; it bounds the memory a long document takes.
        reader: Reads windows in another form than PaDeLLM's.
    """

    def __init__(
        self,
        generator: Generator,
        template: PromptTemplate,
        *,
        policy: Policy = Policy.PAPER,
        threshold: float = 0.0,
        windows_in_flight: int = 8,
        reader: Reader | None = None,
    ) -> None:
        self._template = template
        self._policy = policy
        self._threshold = threshold
        self._windows_in_flight = windows_in_flight
        self._labels = LabelPrompts(template)
        self._reader = reader or WindowReader(generator, template)

    async def extract(self, document: Document) -> Extraction:
        """Find the entities of one document.

        Raises:
            stream.errors.InferenceError: The model did not answer; nothing of the document is returned.
        """
        began = time.perf_counter()
        labels = self._labels.of(document)
        readings = await self._read(document.text, labels)
        stitched = stitch(readings)
        settled = deduplicate(
            stitched.entities,
            document.policy or self._policy,
            threshold=self._threshold if document.threshold is None else document.threshold,
        )
        also = {label.name: label.also for label in labels if label.also}
        return Extraction(
            entities=_under_all_names(settled.entities, also),
            removed=_under_all_names(
                [
                    *(one for reading in readings for one in reading.removed),
                    *stitched.removed,
                    *settled.removed,
                ],
                also,
            ),
            coverage=_coverage(document.text, readings, also),
            labels=self._labels.names(document),
            counts=_counts(readings, labels),
            timings={
                "count": max((reading.count_ms for reading in readings), default=0.0),
                "mention": max((reading.mention_ms for reading in readings), default=0.0),
                "total": (time.perf_counter() - began) * 1000,
            },
        )

    async def _read(self, text: str, labels: Sequence[LabelPrompt]) -> list[Reading]:
        """Read all windows, at most ``windows_in_flight`` at once; each is cut when its turn comes."""
        ahead = windows(text, self._template)
        first = next(ahead, None)
        if first is None:
            return []
        if first.closes:
            return [await self._reader.read(text, first, labels)]
        queue = chain([first], ahead)
        readings = await all_of(self._read_from(queue, text, labels) for _ in range(self._windows_in_flight))
        return sorted(chain.from_iterable(readings), key=lambda reading: reading.window.start)

    async def _read_from(
        self, queue: Iterator[Window], text: str, labels: Sequence[LabelPrompt]
    ) -> list[Reading]:
        readings = []
        for window in queue:
            readings.append(await self._reader.read(text, window, labels))
            # Cutting a window takes a millisecond; other documents come between.
            await asyncio.sleep(0)
        return readings


def _under_all_names(found: list[Found], also: dict[str, tuple[str, ...]]) -> list[Found]:
    """Answers decoded under one name, repeated under the document's other names for the same."""
    if not also:
        return found
    named: list[Found] = []
    for one in found:
        named.append(one)
        named.extend(one.model_copy(update={"label": name}) for name in also.get(one.label, ()))
    return named


def _counts(readings: Sequence[Reading], labels: Sequence[LabelPrompt]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for label in labels:
        answers = [reading.counts.get(label.name) for reading in readings]
        readable = [answer for answer in answers if answer is not None]
        if len(readable) == len(answers):
            counts |= dict.fromkeys((label.name, *label.also), sum(readable))
    return counts


def _coverage(text: str, readings: Sequence[Reading], also: dict[str, tuple[str, ...]]) -> Coverage:
    return Coverage(
        windows=len(readings),
        characters=len(text),
        unread=unread(text, [(one.window.start, one.window.end) for one in readings if one.window.ids]),
        capped=[
            (one.window.start, one.window.end, name)
            for one in readings
            for label in one.capped
            for name in (label, *also.get(label, ()))
        ],
    )
