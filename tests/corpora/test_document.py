"""Annotated documents."""

from hypothesis import given

from stream.corpora.document import first_overlap, outermost, twice_marked
from tests.corpora.documents import document, documents


def _within(inner, outer):
    longer = outer.end - outer.start > inner.end - inner.start
    return longer and outer.start <= inner.start and inner.end <= outer.end


@given(annotated=documents())
def test_document_overlap_is_found_where_there_is_one(annotated):
    """A pair is found exactly when two entities have a character in common."""
    entities = annotated.entities
    pairs = [
        (a, b) for at, a in enumerate(entities) for b in entities[:at] if a.start < b.end and b.start < a.end
    ]
    pair = first_overlap(entities)
    assert (pair is None) == (not pairs)
    assert pair is None or pair in pairs or pair[::-1] in pairs


@given(annotated=documents())
def test_document_outermost_leaves_out_what_lies_within_a_longer_entity(annotated):
    """The entities left, in their order, are those that lie in no longer one."""
    left = [e for e in annotated.entities if not any(_within(e, other) for other in annotated.entities)]
    assert list(outermost(annotated).entities) == left


def test_document_outermost_keeps_two_labels_of_a_place():
    """Of two entities in one place neither lies within the other."""
    both = document("Oslo", (0, 4, "LOC"), (0, 4, "ORG"))
    assert outermost(both) == both


def test_document_twice_marked_means_place_and_label():
    """The same place under another label is not the same entity."""
    assert twice_marked(document("Oslo", (0, 4, "LOC"), (0, 4, "ORG")).entities) is None
    assert twice_marked(document("Oslo", (0, 4, "LOC"), (0, 4, "LOC")).entities).label == "LOC"
