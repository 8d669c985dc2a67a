"""The readings of overlapping windows put together."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from stream.messages import Entity, Removed
from stream.ner.deduplicate import removed
from stream.ner.reading import Reading
from stream.ner.reasons import OVERLAP
from stream.ner.windows import Window

# Start, end and label.
_Key = tuple[int, int, str]


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
    best: dict[_Key, Entity] = {}
    seen_whole: dict[_Key, bool] = {}
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
