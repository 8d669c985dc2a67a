"""Avro records of the messages.

What Avro cannot say is mapped so: a tuple is an array (of a union, where its members differ in type),
a free JSON value is a string that holds JSON text. Bounds (``ge``, ``min_length``) have no counterpart;
the JSON Schema states them.
"""

from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from stream.offsets import OffsetUnit

NAMESPACE = "padellm"
_PRIMITIVES = {
    str: "string",
    int: "long",
    float: "double",
    bool: "boolean",
    NoneType: "null",
    JsonValue: "string",
    OffsetUnit: "string",  # the symbols of an enum hold no hyphen
}


def avro_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The Avro record of a message.

    Raises:
        TypeError: A field's annotation has no counterpart here.
    """
    return {"namespace": NAMESPACE, **_record(model, set())}


def _record(model: type[BaseModel], named: set[str]) -> dict[str, Any]:
    named.add(model.__name__)
    fields = [_field(name, field, named) for name, field in model.model_fields.items()]
    return {"type": "record", "name": model.__name__, "doc": _doc(model), "fields": fields}


def _field(name: str, field: FieldInfo, named: set[str]) -> dict[str, Any]:
    avro: dict[str, Any] = {"name": name, "type": _type(field.annotation, named)}
    if field.description:
        avro["doc"] = field.description
    if not field.is_required():
        avro["default"] = field.get_default(call_default_factory=True)
    return avro


def _type(annotation: Any, named: set[str]) -> Any:
    """The Avro type of an annotation; ``named`` collects the types defined so far, later uses are by name."""
    if annotation in _PRIMITIVES:
        return _PRIMITIVES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, (BaseModel, StrEnum)):
        return annotation.__name__ if annotation.__name__ in named else _named(annotation, named)
    return _generic(annotation, named)


def _generic(annotation: Any, named: set[str]) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], named)
    if origin in (Union, UnionType):
        return _union([_type(argument, named) for argument in arguments])
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], named)}
    if origin is tuple:
        return {"type": "array", "items": _union([_type(argument, named) for argument in arguments])}
    if origin is dict and arguments[0] is str:
        return {"type": "map", "values": _type(arguments[1], named)}
    raise TypeError(f"no Avro counterpart is known for {annotation!r}: add one to stream/schemas/avro.py")


def _named(annotation: type[BaseModel | StrEnum], named: set[str]) -> dict[str, Any]:
    if issubclass(annotation, BaseModel):
        return _record(annotation, named)
    named.add(annotation.__name__)
    symbols = [member.value for member in annotation]
    return {"type": "enum", "name": annotation.__name__, "doc": _doc(annotation), "symbols": symbols}


def _union(members: list[Any]) -> Any:
    """Each member once, null first so that it can be the default; a single member stands for itself."""
    distinct = [member for index, member in enumerate(members) if member not in members[:index]]
    ordered = sorted(distinct, key=lambda member: member != "null")
    return ordered if len(ordered) > 1 else ordered[0]


def _doc(named: type) -> str:
    return (named.__doc__ or "").strip().splitlines()[0]
