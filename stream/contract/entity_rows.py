"""Rows of an entity event: one flat record an entity."""

from typing import Any

from stream.contract.messages import Entity, EntityEvent, EntityRow
from stream.offsets import OffsetUnit

_OF_ENTITY: dict[str, Any] = dict.fromkeys(Entity.model_fields)


def rows_of(event: EntityEvent) -> list[EntityRow]:
    """The rows of an event, in the order of its entities; one without an entity where it has none."""
    shared = {
        "event_id": event.event_id,
        "document_id": event.document_id,
        "entity_count": len(event.entities),
        "offsets": event.offsets or OffsetUnit.CODE_POINTS,
        "source_topic": event.source.topic,
        "source_partition": event.source.partition,
        "source_offset": event.source.offset,
        "model_name": event.model.name,
        "model_version": event.model.version,
        "metadata": event.metadata,
    }
    numbered = list(enumerate(map(dict, event.entities), start=1)) or [(0, _OF_ENTITY)]
    return [
        EntityRow(entity_id=f"{event.event_id}/{number}", number=number, **entity, **shared)
        for number, entity in numbered
    ]
