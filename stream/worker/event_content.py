"""Content of an event: the extractions of a document's texts, counted in the unit that was asked for."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stream.aio import all_of
from stream.contract.messages import Coverage, Document, Entity, Removed
from stream.generation import ModelStamp
from stream.ner.extractor import Extraction
from stream.offsets import OffsetScale, OffsetUnit
from stream.worker.codec import Decoded

Extract = Callable[[Document], Coroutine[Any, Any, Extraction]]


@dataclass(frozen=True, slots=True)
class EventContent:
    """Members of an event that the model decides.

    Attributes:
        labels: The labels looked for.
        entities: Of all texts, in their order.
        removed: Of all texts.
        coverage: Of all texts together.
        fields: Coverage of each text by its JSON Pointer; None where the document is one text.
        timings: Milliseconds by stage, of the slowest text.
        model: The model that answered about all texts, where that is known.
    """

    labels: list[str]
    entities: list[Entity]
    removed: list[Removed]
    coverage: Coverage
    fields: dict[str, Coverage] | None
    timings: dict[str, float]
    model: ModelStamp | None


async def content_of(decoded: Decoded, extract: Extract, unit: OffsetUnit) -> EventContent:
    """Ask a model about every text of a document.

    Args:
        decoded: The document.
        extract: Extracts the entities of one text.
        unit: Unit of the offsets.

    Raises:
        stream.errors.InferenceError: ``extract`` gives a text up.
    """
    document, texts = decoded.document, decoded.fields
    if not texts:
        return content_of_text(document.text, await extract(document), unit)
    parts = [document.model_copy(update={"text": text}) for text in texts.values()]
    extractions = await all_of(map(extract, parts))
    while len({extraction.model for extraction in extractions}) > 1:  # a change of model rolls on
        extractions = await all_of(map(extract, parts))
    return content_of_fields(texts, dict(zip(texts, extractions, strict=True)), unit)


def content_of_text(text: str, extraction: Extraction, unit: OffsetUnit) -> EventContent:
    """The content for a document of one text."""
    part = _Part(None, OffsetScale(text, unit))
    return EventContent(
        labels=extraction.labels,
        entities=part.entities(extraction),
        removed=part.removed(extraction),
        coverage=part.coverage(extraction),
        fields=None,
        timings=extraction.timings,
        model=extraction.model,
    )


def content_of_fields(
    texts: Mapping[str, str], extractions: Mapping[str, Extraction], unit: OffsetUnit
) -> EventContent:
    """The content for a document of several texts.

    Args:
        texts: By JSON Pointer; at least one.
        extractions: By the same pointers, all by one model.
        unit: Unit of the offsets.
    """
    parts = {
        pointer: (_Part(pointer, OffsetScale(texts[pointer], unit)), extraction)
        for pointer, extraction in extractions.items()
    }
    coverages = {pointer: part.coverage(extraction) for pointer, (part, extraction) in parts.items()}
    every = list(extractions.values())
    return EventContent(
        labels=every[0].labels,
        entities=[one for part, extraction in parts.values() for one in part.entities(extraction)],
        removed=[one for part, extraction in parts.values() for one in part.removed(extraction)],
        coverage=_together(coverages.values()),
        fields=coverages,
        timings={
            stage: max(each.timings.get(stage, 0.0) for each in every)
            for stage in dict.fromkeys(stage for each in every for stage in each.timings)
        },
        model=every[0].model,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A text of the document."""

    pointer: str | None
    scale: OffsetScale

    @property
    def _same(self) -> bool:
        """The event says of this text exactly what the extraction says."""
        return self.pointer is None and not self.scale.differs

    def entities(self, extraction: Extraction) -> list[Entity]:
        if self._same:
            return extraction.entities
        of = self.scale.of
        return [
            each.model_copy(update={"start": of(each.start), "end": of(each.end), "field": self.pointer})
            for each in extraction.entities
        ]

    def removed(self, extraction: Extraction) -> list[Removed]:
        if self._same:
            return extraction.removed
        of = self.scale.of
        return [
            each.model_copy(
                update={
                    "start": None if each.start is None else of(each.start),
                    "end": None if each.end is None else of(each.end),
                    "field": self.pointer,
                }
            )
            for each in extraction.removed
        ]

    def coverage(self, extraction: Extraction) -> Coverage:
        coverage, of = extraction.coverage, self.scale.of
        if not self.scale.differs:
            return coverage
        return Coverage(
            windows=coverage.windows,
            characters=of(coverage.characters),
            unread=[(of(start), of(end)) for start, end in coverage.unread],
            capped=[(of(start), of(end), label) for start, end, label in coverage.capped],
        )


def _together(coverages: Iterable[Coverage]) -> Coverage:
    every = list(coverages)
    return Coverage(
        windows=sum(each.windows for each in every),
        characters=sum(each.characters for each in every),
        unread=[one for each in every for one in each.unread],
        capped=[one for each in every for one in each.capped],
    )
