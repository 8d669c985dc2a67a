"""Parts of JSON as they are spelled: a number of JSON may have more digits than a float keeps.

All functions take JSON that ``strict_json.parse`` has taken.
"""

import json
from collections.abc import Iterable, Sequence

from stream.contract.pointers import reference_tokens
from stream.worker.strict_json import parts, without_space


def spelled(raw: bytes, pointers: Sequence[str]) -> bytes:
    """An object of the values at some places, each under its pointer; a place may have no value."""
    found = ((json.dumps(pointer).encode(), _at(raw, pointer)) for pointer in pointers)
    return _object((name, value) for name, value in found if value)


def spelled_without(raw: bytes, pointers: Sequence[str]) -> bytes:
    """An object of all but the values at some places; a value that is no object becomes its member ``""``.

    In an array null stands in the place of such a value.
    """
    rest = _without(raw, [reference_tokens(pointer) for pointer in pointers])
    return rest if rest.startswith(b"{") else _object([(b'""', rest or b"null")])


def _at(raw: bytes, pointer: str) -> bytes:
    """The value at a place; empty where there is none."""
    for token in reference_tokens(pointer):
        raw = next((value for name, value in parts(raw) if _token(name) == token), b"")
    return without_space(raw)


def _without(raw: bytes, ways: Sequence[tuple[str, ...]]) -> bytes:
    """The value without what lies at the ends of the ways; empty where nothing is left."""
    if not ways:
        return without_space(raw)
    if () in ways:
        return b""
    kept = [
        (name, _without(value, [way[1:] for way in ways if way[0] == _token(name)]))
        for name, value in parts(raw)
    ]
    if raw.lstrip().startswith(b"["):
        return b"[%s]" % b",".join(value or b"null" for _, value in kept)
    if raw.lstrip().startswith(b"{"):
        return _object((name, value) for name, value in kept if value)
    return without_space(raw)


def _object(members: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"{%s}" % b",".join(b"%s:%s" % member for member in members)


def _token(name: bytes) -> str:
    """The reference token of a member's spelled name, or of an index."""
    return str(json.loads(name))
