"""Equality of repeated events: a document that is read again is answered again, under one ``event_id``."""

from typing import Any

from stream.contract.messages import EntityEvent

# float32 on one machine, beside other documents; int8 moves scores by up to 0.04.
SCORE_TOLERANCE = 1e-4
_SCORES = {"score", "count_score"}


def differences(
    first: EntityEvent, again: EntityEvent, *, score_tolerance: float = SCORE_TOLERANCE
) -> list[str]:
    """Compare two events of one ``event_id``.

    Args:
        first: One event.
        again: The other.
        score_tolerance: Difference of two scores that counts as none.

    Returns:
        Places where they differ, such as ``entities/0/label``; empty where they say the same. ``timings`` are
        not compared.
    """
    one, other = (event.model_dump(mode="json", exclude={"timings"}) for event in (first, again))
    return _differences("", one, other, score_tolerance)


def _differences(place: str, one: Any, other: Any, tolerance: float) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(f"{place}/{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{place}/{index}", *both) for index, both in enumerate(zip(one, other, strict=True))]
    elif _is_score(place, one, other):
        return [] if abs(one - other) <= tolerance else [place[1:]]
    else:
        return [] if one == other else [place[1:]]
    return [found for name, left, right in pairs for found in _differences(name, left, right, tolerance)]


def _is_score(place: str, *values: Any) -> bool:
    return place.rpartition("/")[2] in _SCORES and all(isinstance(value, int | float) for value in values)
