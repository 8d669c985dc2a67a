"""Post-processing of a document: calibrate scores, merge windows, de-duplicate."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from stream.contract.messages import Coverage, Entity, Policy, Removed
from stream.contract.reasons import RemovalReason
from stream.generation import ModelStamp
from stream.ner.calibration import Calibration
from stream.ner.deduplicate import deduplicate, removed
from stream.ner.labels import LabelPrompt
from stream.ner.parallel_decoding import WindowResult
from stream.ner.windows import Window, unread

# Start, end and label.
_Key = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Stitched:
    """Attributes: ``entities``, every span and label once; ``removed``, those cut by a window's edge."""

    entities: list[Entity]
    removed: list[Removed]


def stitch(windows_read: Sequence[WindowResult]) -> Stitched:
    """Merge the entities of overlapping windows.

    An entity of two windows is one, with the better score. An entity at the cut edge of its window loses to
    an entity of the same label that contains it, since the other window had it whole.
    """
    if len(windows_read) == 1:
        return Stitched(windows_read[0].entities, [])
    best: dict[_Key, Entity] = {}
    seen_whole: dict[_Key, bool] = {}
    for reading in windows_read:
        for entity in reading.entities:
            key = (entity.start, entity.end, entity.label)
            if key not in best or entity.score > best[key].score:
                best[key] = entity
            seen_whole[key] = seen_whole.get(key, False) or not _at_cut(entity, reading.window)
    cut = _contained([key for key, whole in seen_whole.items() if not whole], list(best))
    return Stitched(
        [entity for key, entity in best.items() if key not in cut],
        [removed(best[key], RemovalReason.OVERLAP) for key in cut],
    )


def _at_cut(entity: Entity, window: Window) -> bool:
    return (entity.start == window.start and not window.opens) or (
        entity.end == window.end and not window.closes
    )


def _contained(suspects: Sequence[_Key], keys: Sequence[_Key]) -> list[_Key]:
    """The suspects that another span of their label contains."""
    ordered = sorted(keys)
    longest = max((end - start for start, end, _ in keys), default=0)
    contained: list[_Key] = []
    for suspect in suspects:
        start, end, label = suspect
        # Only spans that begin at most the longest span's length before the suspect's end can contain it.
        near = ordered[bisect_left(ordered, (end - longest,)) : bisect_left(ordered, (start + 1,))]
        if any(name == label and stop >= end and stop - begin > end - start for begin, stop, name in near):
            contained.append(suspect)
    return contained


_Named = TypeVar("_Named", Entity, Removed)


@dataclass(frozen=True, slots=True)
class RawExtraction:
    """The model's answers about a document, before post-processing.

    Attributes:
        text: The document's.
        names: The labels looked for, as the document named them.
        labels: Their prompts.
        windows: One result for every window, in order.
    """

    text: str
    names: list[str]
    labels: Sequence[LabelPrompt]
    windows: list[WindowResult]

    def counts(self) -> dict[str, int]:
        """Mentions counted for each label, windows added up.

        A label is absent where one of its counts could not be read.
        """
        counts: dict[str, int] = {}
        for label in self.labels:
            answers = [reading.counts.get(label.name) for reading in self.windows]
            readable = [answer for answer in answers if answer is not None]
            if len(readable) == len(answers):
                counts |= dict.fromkeys((label.name, *label.also), sum(readable))
        return counts

    def sure(self, probability: float) -> "RawExtraction":
        """The answers for the labels of which the model is sure.

        Args:
            probability: Lowest that the model may have given any answer for a label, in [0, 1].
        """
        labels = [
            label
            for label in self.labels
            if all(one.certainty.get(label.name, 0.0) >= probability for one in self.windows)
        ]
        names = {name for label in labels for name in (label.name, *label.also)}
        windows_read = [
            replace(one, entities=[entity for entity in one.entities if entity.label in names], removed=[])
            for one in self.windows
        ]
        return replace(
            self, names=[name for name in self.names if name in names], labels=labels, windows=windows_read
        )


@dataclass(frozen=True, slots=True)
class Extraction:
    """The entities of a document.

    Attributes:
        entities: In the order of the text; ``document.text[entity.start:entity.end] == entity.text``.
        removed: Mentions of the model that are not among the entities, each with its reason.
        coverage: The part of the text that the model has read.
        labels: The labels looked for, as the document named them.
        counts: ``RawExtraction.counts``.
        timings: Milliseconds; ``count`` and ``mention`` of the slowest window, ``total`` of everything.
        model: The model that answered, where that is known.
    """

    entities: list[Entity]
    removed: list[Removed]
    coverage: Coverage
    labels: list[str]
    counts: dict[str, int]
    timings: dict[str, float]
    model: ModelStamp | None = None


def postprocess(
    raw: RawExtraction, *, policy: Policy, threshold: float = 0.0, calibration: Calibration | None = None
) -> Extraction:
    """Calibrate scores, merge windows, de-duplicate: pure, so that one decode serves several policies.

    Args:
        raw: The model's answers.
        policy: De-duplication.
        threshold: Lowest score of an entity.
        calibration: Platt scaling of the scores, applied before all else; without it a score stays a product
            of token probabilities.
    """
    stitched = stitch(raw.windows)
    scored = _Calibrator(raw.labels, calibration)
    deduplicated = deduplicate(scored.all_of(stitched.entities), policy, threshold=threshold)
    also = {label.name: label.also for label in raw.labels if label.also}
    unresolved = [*(one for reading in raw.windows for one in reading.removed), *stitched.removed]
    return Extraction(
        entities=_under_all_names(deduplicated.entities, also),
        removed=_under_all_names([*scored.all_of(unresolved), *deduplicated.removed], also),
        coverage=_coverage(raw.text, raw.windows, also),
        labels=raw.names,
        counts=raw.counts(),
        timings={
            "count": max((reading.count_ms for reading in raw.windows), default=0.0),
            "mention": max((reading.mention_ms for reading in raw.windows), default=0.0),
        },
    )


class _Calibrator:
    """Gives mentions their scores; the one place that applies a calibration."""

    def __init__(self, labels: Sequence[LabelPrompt], calibration: Calibration | None) -> None:
        self._temperatures = (
            {label.name: calibration.of(label.phrase) for label in labels} if calibration else {}
        )

    def all_of(self, found: list[_Named]) -> list[_Named]:
        return [self._scored(one) for one in found] if self._temperatures else found

    def _scored(self, one: _Named) -> _Named:
        if isinstance(one, Removed) and one.reason == RemovalReason.UNREADABLE_COUNT:
            return one
        return one.model_copy(update={"score": self._temperatures[one.label].probability(one.score)})


def _under_all_names(found: list[_Named], also: dict[str, tuple[str, ...]]) -> list[_Named]:
    """Answers decoded under one name, repeated under the document's other names for the same."""
    if not also:
        return found
    named: list[_Named] = []
    for one in found:
        named.append(one)
        named.extend(one.model_copy(update={"label": name}) for name in also.get(one.label, ()))
    return named


def _coverage(text: str, windows_read: Sequence[WindowResult], also: dict[str, tuple[str, ...]]) -> Coverage:
    return Coverage(
        windows=len(windows_read),
        characters=len(text),
        unread=unread(text, [(one.window.start, one.window.end) for one in windows_read if one.window.ids]),
        capped=[
            (one.window.start, one.window.end, name)
            for one in windows_read
            for label in one.capped
            for name in (label, *also.get(label, ()))
        ],
    )
