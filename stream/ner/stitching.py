"""The readings of overlapping windows put together."""

from collections.abc import Sequence
from dataclasses import dataclass

from stream.messages import Entity, Removed
from stream.ner.deduplicate import removed
from stream.ner.reading import Reading
from stream.ner.reasons import OVERLAP
from stream.ner.windows import Window


@dataclass(frozen=True, slots=True)
class Stitched:
    """Attributes: ``entities``, every span and label once; ``removed``, those cut by a window's edge."""

    entities: list[Entity]
    removed: list[Removed]


def stitch(readings: Sequence[Reading]) -> Stitched:
    """Merge what neighbouring windows found in the text they share.

    An entity found by two windows is one, with the better score. An entity that ends or begins where its
    window was cut loses to one of its label that contains it, since that window saw it whole.
    """
    if len(readings) == 1:
        return Stitched(readings[0].entities, [])
    best: dict[tuple[int, int, str], Entity] = {}
    seen_whole: dict[tuple[int, int, str], bool] = {}
    for reading in readings:
        for entity in reading.entities:
            key = (entity.start, entity.end, entity.label)
            if key not in best or entity.score > best[key].score:
                best[key] = entity
            seen_whole[key] = seen_whole.get(key, False) or not _at_cut(entity, reading.window)
    cut = _contained([key for key, whole in seen_whole.items() if not whole], list(best))
    return Stitched(
        [entity for key, entity in best.items() if key not in cut],
        [removed(best[key], OVERLAP) for key in cut],
    )


def _at_cut(entity: Entity, window: Window) -> bool:
    return (entity.start == window.start and not window.opens) or (
        entity.end == window.end and not window.closes
    )


def _contained(
    suspects: Sequence[tuple[int, int, str]], spans: Sequence[tuple[int, int, str]]
) -> list[tuple[int, int, str]]:
    """The suspects that another span of their label contains."""
    return [
        (start, end, label)
        for start, end, label in suspects
        if any(
            other == label and left <= start and end <= right and right - left > end - start
            for left, right, other in spans
        )
    ]
