"""Equality of repeated events."""

import pytest

from stream.contract.messages import Coverage, Entity, EntityEvent, ModelInfo, Source
from stream.contract.repeats import differences


def _event(*, score: float = 0.5, label: str = "person", count: int = 2, **changes: object) -> EntityEvent:
    entities = [
        Entity(text="Ada", label=label, start=4 * n, end=4 * n + 3, score=score, count_score=0.9)
        for n in range(count)
    ]
    event = EntityEvent(
        event_id="0b0c",
        document_id="d",
        source=Source(topic="docs", partition=0, offset=7),
        model=ModelInfo(name="tiny", version="1", template_hash="0" * 16),
        labels=["person"],
        entities=entities,
        removed=[],
        coverage=Coverage(windows=1, characters=7),
        timings={"total": 1.5},
        metadata={"score": 1.0},
    )
    return event.model_copy(update=changes)


def test_repeats_may_differ_in_timings_and_in_the_last_bits_of_scores() -> None:
    """Timings do not count, and scores count beyond the tolerance."""
    assert differences(_event(), _event(score=0.50009, timings={"total": 9.0})) == []
    assert differences(_event(), _event(score=0.52)) == ["entities/0/score", "entities/1/score"]
    assert differences(_event(), _event(score=0.52), score_tolerance=0.05) == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"label": "location", "count": 1}, "entities"),
        ({"label": "location"}, "entities/0/label"),
        ({"count": 3}, "entities"),
        ({"document_id": "e"}, "document_id"),
        ({"source": Source(topic="docs", partition=0, offset=8)}, "source/offset"),
    ],
)
def test_repeats_that_say_something_else_say_where(changes: dict[str, object], place: str) -> None:
    """Anything but timings and scores has to be equal."""
    assert differences(_event(), _event(**changes))[0] == place
