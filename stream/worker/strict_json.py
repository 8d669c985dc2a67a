"""Bytes to one JSON value, with everything refused that two readers could understand differently.

RFC 8259 leaves duplicate names, lone surrogates and numbers beyond a double to the reader; Python's own
reader also takes NaN and Infinity. Here each has a reason of its own.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

from stream.contract.reasons import Reason
from stream.errors import BadDocument

MAX_DEPTH = 32
_SHOWN = 60


def parse(raw: bytes) -> Any:
    """Read one JSON value.

    Raises:
        BadDocument: The bytes are not one strict JSON value; the reason says why.
    """
    text = _decode(raw)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int
        )
    except json.JSONDecodeError as error:
        raise BadDocument(
            Reason.NOT_JSON,
            f"the value is not JSON: {error.msg.removesuffix(' at')} at line {error.lineno}, "
            f"column {error.colno}; "
            'send one JSON object such as {"text": "..."}',
        ) from error
    except RecursionError as error:
        raise _too_deep() from error
    if _depth_exceeds(value, MAX_DEPTH):
        raise _too_deep()
    if "\\u" in text:  # only an escape can name a surrogate: UTF-8 cannot hold one
        _refuse_surrogates(value)
    return value


def shown(value: object) -> str:
    """A value as an error message shows it: quoted, ASCII, short."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _decode(raw: bytes) -> str:
    if not raw:
        raise BadDocument(
            Reason.EMPTY_VALUE, 'the value has 0 bytes; send one JSON object such as {"text": "..."}'
        )
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise BadDocument(
            Reason.BYTE_ORDER_MARK,
            "the value begins with a byte order mark; send UTF-8 without one (RFC 8259, 8.1)",
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadDocument(
            Reason.NOT_UTF8,
            f"the value is not UTF-8: {error.reason} at byte {error.start}; encode the JSON as UTF-8",
        ) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadDocument(
            Reason.DUPLICATE_KEY, f"the name {shown(twice)} occurs twice in one object; give it once"
        )
    return value


def _constant(name: str) -> Any:
    raise BadDocument(Reason.NOT_A_NUMBER, f"{name} is no JSON number; leave the field out or send a number")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadDocument(Reason.NUMBER_OUT_OF_RANGE, f"the number {shown(digits)} is beyond a 64-bit float")
    return value


def _int(digits: str) -> int:
    # 2^63 and beyond is not the same number to every reader; and Python's conversion is quadratic.
    if len(digits) > len("-9223372036854775808") or not -(2**63) <= (value := int(digits)) < 2**63:
        raise BadDocument(
            Reason.NUMBER_OUT_OF_RANGE, f"the number {shown(digits)} is beyond 64 bits; send it as a string"
        )
    return value


def _too_deep() -> BadDocument:
    return BadDocument(
        Reason.TOO_DEEP, f"arrays and objects are nested deeper than {MAX_DEPTH} levels; flatten them"
    )


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
    return bool(level)


def _refuse_surrogates(value: Any) -> None:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        names = one if isinstance(one, dict) else (one,)
        for text in names:
            if isinstance(text, str):
                _refuse_surrogate(text)
        waiting.extend(_children(one))


def _refuse_surrogate(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadDocument(
            Reason.LONE_SURROGATE,
            f"a string holds the lone surrogate \\u{ord(text[error.start]):04x} at character {error.start}: "
            "it stands for no character; escape characters beyond U+FFFF as a pair of surrogates",
        ) from error
