"""Rows of an event."""

from stream.contract.entity_rows import rows_of
from stream.contract.messages import Entity
from stream.offsets import OffsetUnit
from stream.schemas.examples import EVENT


def test_entity_rows_hold_every_entity():
    """A row says of its entity all that the event says, and which of how many it is."""
    rows = rows_of(EVENT)
    assert [Entity(**row.model_dump(include=set(Entity.model_fields))) for row in rows] == EVENT.entities
    assert [(row.number, row.entity_count) for row in rows] == [(1, 3), (2, 3), (3, 3)]
    assert len({row.entity_id for row in rows}) == 3


def test_entity_rows_of_a_document_without_entities_are_one():
    """A document without entities is one row, number 0 of 0, whose entity is null."""
    (row,) = rows_of(EVENT.model_copy(update={"entities": []}))
    assert (row.number, row.entity_count, row.document_id) == (0, 0, EVENT.document_id)
    assert row.model_dump(include=set(Entity.model_fields)) == dict.fromkeys(Entity.model_fields)


def test_entity_rows_always_name_the_unit_of_offsets():
    """The unit is a column that is never null, also where the event leaves it out."""
    assert {row.offsets for row in rows_of(EVENT)} == {OffsetUnit.CODE_POINTS}
    other = EVENT.model_copy(update={"offsets": OffsetUnit.UTF_16})
    assert {row.offsets for row in rows_of(other)} == {OffsetUnit.UTF_16}
