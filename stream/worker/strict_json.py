"""Bytes to one JSON value, with everything refused that two readers could understand differently.

RFC 8259 leaves duplicate names, lone surrogates and numbers beyond a double to the reader; Python's own
reader also takes NaN and Infinity. Here each has a reason of its own.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from stream.contract.reasons import Reason
from stream.contract.rules import shown
from stream.errors import BadDocument

MAX_DEPTH = 32
# A string, closed or not, or a structural character. Possessive: a string is passed over in linear time, and
# without memory.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}:,]', re.DOTALL)
_SPACE = re.compile(rb'("(?:[^"\\]++|\\.)*+")|[ \t\n\r]+', re.DOTALL)
_CONTAINER = re.compile(rb"[ \t\n\r]*[\[{]")
_QUOTE, _COLON, _COMMA = b'":,'
_OPENING, _CLOSING = b"[{", b"]}"
_LONGEST_INTEGER = 40  # digits; Python's conversion is quadratic
_SCHEMA_REGISTRY_FRAME = 5  # bytes: 0, then the schema id as a big-endian integer


class TooManyValues(Exception):  # noqa: N818 - names what it is
    """JSON with more values than a reader asked for.

    Attributes:
        name: Name of the outermost object's member at which the limit was passed, in JSON's spelling; empty
            for an outermost array.
        depth: Arrays and objects open there; 1 where the outermost object itself has too many members.
    """

    def __init__(self, name: bytes, depth: int) -> None:
        super().__init__(name, depth)
        self.name = name
        self.depth = depth


def parse(raw: bytes, *, most_values: int | None = None, foreign: bool = False) -> Any:
    """Read one JSON value.

    Values take up to a hundred times as much memory as their text, so they are counted before any is made.

    Args:
        raw: UTF-8.
        most_values: Most values that arrays and objects may hold together; None is no limit.
        foreign: Whether most of it is another program's: numbers beyond 64 bits become floats, infinity too,
            and strings may hold lone surrogates; ``refuse_surrogates`` checks what is read of it.

    Raises:
        BadDocument: The bytes are not one strict JSON value; the reason says why.
        TooManyValues: There are more values than ``most_values``.
    """
    text = _decode(raw)
    if _CONTAINER.match(raw):
        _bound(raw, math.inf if most_values is None else most_values)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=float if foreign else _float,
            parse_int=_any_int if foreign else _int,
        )
    except json.JSONDecodeError as error:
        raise BadDocument(
            Reason.NOT_JSON,
            f"the value is not JSON: {error.msg.removesuffix(' at')} at line {error.lineno}, "
            f"column {error.colno}; "
            'send one JSON object such as {"text": "..."}',
        ) from error
    if "\\u" in text and not foreign:  # only an escape can name a surrogate: UTF-8 cannot hold one
        refuse_surrogates(value)
    return value


def member(raw: bytes, name: str) -> bytes:
    """The spelling of a member of a JSON object, without the white space between its values.

    Args:
        raw: A JSON object that ``parse`` has taken.
        name: The member's name.

    Raises:
        KeyError: There is no such member.
    """
    for spelled, value in parts(raw):
        if json.loads(spelled) == name:
            return without_space(value)
    raise KeyError(name)


def parts(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The spellings of names and values of a JSON object, or of indices and values of an array.

    White space may be around values. A string or a number has no parts.

    Args:
        raw: JSON that ``parse`` has taken.
    """
    depth = start = index = 0
    string = slice(0)
    name = b""
    for token in _TOKEN.finditer(raw):
        kind = raw[token.start()]
        depth += (kind in _OPENING) - (kind in _CLOSING)
        if kind in _OPENING and depth == 1:
            start = token.end()
        elif depth == 1 and kind == _QUOTE:
            string = slice(*token.span())
        elif depth == 1 and kind == _COLON:
            name, start = raw[string], token.end()
        elif depth == 0 or (depth == 1 and kind == _COMMA):
            value = raw[start : token.start()]
            if value.strip():  # else the array or object is empty
                yield name or b"%d" % index, value
            start, index = token.end(), index + 1


def without_space(raw: bytes) -> bytes:
    """JSON without the white space between its values."""
    return _SPACE.sub(rb"\1", raw).strip()


def _bound(raw: bytes, most_values: float) -> None:
    """Refuse JSON that is nested too deep or holds too many values; malformed JSON may pass."""
    opening = raw.count(b"[") + raw.count(b"{")
    if opening <= MAX_DEPTH and opening + raw.count(b",") <= most_values:
        return  # strings included, and still too few
    depth = values = 0
    name = string = slice(0)
    for token in _TOKEN.finditer(raw):
        kind = raw[token.start()]
        if kind == _QUOTE:
            string = slice(*token.span())
        elif kind == _COLON:
            name = string if depth == 1 else name
        elif kind in _CLOSING:
            depth -= 1
        else:
            values += 1  # behind a comma or an opening bracket
            depth += kind in _OPENING
            if depth > MAX_DEPTH:
                raise _too_deep()
            if values > most_values:
                raise TooManyValues(raw[name], depth)


def _decode(raw: bytes) -> str:
    if not raw:
        raise BadDocument(
            Reason.EMPTY_VALUE, 'the value has 0 bytes; send one JSON object such as {"text": "..."}'
        )
    if raw.startswith(b"\x00\x00") and len(raw) > _SCHEMA_REGISTRY_FRAME:
        schema = int.from_bytes(raw[1:_SCHEMA_REGISTRY_FRAME], "big")
        raise BadDocument(
            Reason.NOT_JSON,
            f"the value begins with byte 0 and, it seems, the id {schema} of a schema: the frame of a Schema "
            "Registry serializer; read it with PADELLM_RECORD_ENCODING=registry, or send plain JSON",
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
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
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


def _any_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _too_deep() -> BadDocument:
    return BadDocument(
        Reason.TOO_DEEP, f"arrays and objects are nested deeper than {MAX_DEPTH} levels; flatten them"
    )


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def refuse_surrogates(value: Any) -> None:
    """Check all strings of decoded JSON.

    Raises:
        BadDocument: One holds a lone surrogate.
    """
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
