"""Annotated documents, the form that every format is read into and written from."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field


class GoldEntity(BaseModel):
    """An annotated entity; offsets in code points, ``end`` exclusive."""

    model_config = ConfigDict(frozen=True)

    start: int = Field(ge=0)
    end: int
    text: str = Field(min_length=1)
    label: str = Field(min_length=1)


class AnnotatedDocument(BaseModel):
    """A text with its entities; ``text[start:end]`` equals the text of each.

    Entities may lie within each other, cross, or share a place under several labels.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(default="", coerce_numbers_to_str=True)
    text: str = Field(min_length=1)
    entities: tuple[GoldEntity, ...]


def label_inventory(documents: Iterable[AnnotatedDocument]) -> list[str]:
    """The labels that documents are annotated with, in the order of first use."""
    return list(dict.fromkeys(entity.label for document in documents for entity in document.entities))
