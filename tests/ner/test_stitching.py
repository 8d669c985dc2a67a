"""Readings of overlapping windows put together."""

from stream.contract.messages import Entity
from stream.ner.parallel_decoding import WindowResult
from stream.ner.postprocess import stitch
from stream.ner.windows import Window

TEXT = "in New York City now"


def reading(start, end, *found, opens=False, closes=False):
    """A window's reading with the entities found."""
    entities = [
        Entity(text=TEXT[left:right], label=label, start=left, end=right, score=score, count_score=1.0)
        for left, right, label, score in found
    ]
    return WindowResult(Window(start, end, (1,), opens, closes), entities, [], {}, [], 0.0, 0.0)


def spans(stitched):
    """Position, label and score of every entity."""
    return [(one.start, one.end, one.label, one.score) for one in stitched.entities]


def test_stitching_merges_what_two_windows_found():
    """One span and label found twice is one entity with the better score, and nothing is reported removed."""
    result = stitch(
        [reading(0, 16, (3, 16, "LOC", 0.6), opens=True), reading(3, 20, (3, 16, "LOC", 0.8), closes=True)]
    )
    assert spans(result) == [(3, 16, "LOC", 0.8)]
    assert result.removed == []


def test_stitching_drops_an_entity_cut_by_its_windows_end():
    """A part seen by a window that ended there loses to the whole, even with a better score."""
    result = stitch(
        [reading(0, 11, (3, 11, "LOC", 0.9), opens=True), reading(3, 20, (3, 16, "LOC", 0.5), closes=True)]
    )
    assert spans(result) == [(3, 16, "LOC", 0.5)]
    assert [(one.text, one.reason) for one in result.removed] == [("New York", "overlap")]


def test_stitching_drops_an_entity_cut_by_its_windows_start():
    """The same at the beginning of a window."""
    result = stitch(
        [reading(0, 16, (3, 16, "LOC", 0.5), opens=True), reading(7, 20, (7, 16, "LOC", 0.9), closes=True)]
    )
    assert spans(result) == [(3, 16, "LOC", 0.5)]


def test_stitching_keeps_nested_entities_seen_whole():
    """A part that some window saw with text on both sides is the model's own nested answer, and stays."""
    result = stitch(
        [
            reading(0, 11, (3, 11, "LOC", 0.9), opens=True),
            reading(3, 20, (3, 16, "LOC", 0.5), (7, 11, "LOC", 0.4), closes=True),
        ]
    )
    assert (7, 11, "LOC", 0.4) in spans(result)


def test_stitching_leaves_other_labels_alone():
    """A cut entity loses to its own label only."""
    result = stitch(
        [reading(0, 11, (3, 11, "PER", 0.9), opens=True), reading(3, 20, (3, 16, "LOC", 0.5), closes=True)]
    )
    assert len(result.entities) == 2
