"""JSON Pointers (RFC 6901): the place of a value in JSON, such as ``/after/title``."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator

_SYNTAX = re.compile(r"(?:/(?:[^/~]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_NAMES_SHOWN = 8
_NAME_CHARACTERS = 40


def _checked(pointer: str) -> str:
    if not _SYNTAX.fullmatch(pointer):
        raise ValueError(
            f"{pointer!r} is no JSON Pointer: it begins with /, as in /after/title; "
            "in a name ~ is spelled ~0 and / is spelled ~1"
        )
    return pointer


Pointer = Annotated[str, AfterValidator(_checked)]


class PointerFindsNothing(LookupError):  # noqa: N818 - names what it is
    """There is no value at the place; the message says where the way ends, and what is there."""


def reference_tokens(pointer: str) -> tuple[str, ...]:
    """The names and indices on the way to the place, unescaped; none for the whole value."""
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def pointer_of(tokens: tuple[str, ...]) -> str:
    """The pointer whose reference tokens these are."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


def resolve(value: Any, pointer: str) -> Any:
    """The value at a place.

    Args:
        value: Decoded JSON.
        pointer: A JSON Pointer.

    Raises:
        PointerFindsNothing: There is none.
    """
    tokens = reference_tokens(pointer)
    for depth, token in enumerate(tokens):
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            place = pointer_of(tokens[:depth]) or "the whole value"
            raise PointerFindsNothing(f"{pointer} finds nothing: {place} {_found(value)}")
    return value


def _found(value: Any) -> str:
    if isinstance(value, dict):
        names = [ascii(name[:_NAME_CHARACTERS]) for name in list(value)[:_NAMES_SHOWN]]
        more = ", ..." if len(value) > _NAMES_SHOWN else ""
        return f"has the names {', '.join(names)}{more}" if names else "is an empty object"
    if isinstance(value, list):
        return f"is a list of {len(value)}"
    return f"is {json_type(value)}"


def json_type(value: Any) -> str:
    """The type of decoded JSON, in a word or two."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "another type")
