"""Failures as headers of dead letters describe them, in each family of headers that is in use.

Kafka's share groups (KIP-1191) and this service write ``__dlq.errors.*``, Kafka Connect (KIP-298)
``__connect.errors.*``, Kafka Streams (KIP-1034) ``__streams.errors.*``: all as text. Spring writes
``kafka_dlt-*``, its numbers as big-endian integers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stream.contract.headers import (
    ATTEMPTS,
    DEAD_LETTER_PREFIX,
    REASON,
    SPRING_PREFIX,
    STAGE,
    TRUNCATED,
    encodable,
)
from stream.contract.record import Headers, Record

REPLAYS = "padellm.replays"
REPLAY_OF = "padellm.replay-of"
_LONGEST_NUMBER = 18


class HeaderFamily(StrEnum):
    """Names of headers that belong together."""

    KAFKA = "kafka"
    CONNECT = "connect"
    STREAMS = "streams"
    SPRING = "spring"


_PREFIXES = {
    HeaderFamily.KAFKA: DEAD_LETTER_PREFIX,
    HeaderFamily.CONNECT: "__connect.errors.",
    HeaderFamily.STREAMS: "__streams.errors.",
    HeaderFamily.SPRING: SPRING_PREFIX,
}
_OWN = frozenset({STAGE, REASON, TRUNCATED})


@dataclass(frozen=True, slots=True)
class Failure:
    """Origin of a record, and the reason why it is a dead letter.

    Attributes:
        family: Headers it was read from.
        topic: Topic of the record; None, like each number, where the headers do not name it.
        partition: Its partition there.
        offset: Its offset there.
        stage: Stage of this service or of Kafka Connect; may be empty.
        reason: Code of this service, or class of the exception; may be empty.
        message: The same for a person; may be empty.
        attempts: Times that it was tried.
        replays: Times that ``padellm replay`` had sent the record before it failed.
        truncated: Bytes that the value had before it was cut; None where it is whole.
    """

    family: HeaderFamily
    topic: str | None
    partition: int | None
    offset: int | None
    stage: str = ""
    reason: str = ""
    message: str = ""
    attempts: int | None = None
    replays: int = 0
    truncated: int | None = None

    @property
    def position(self) -> str:
        """topic/partition/offset of the record, a question mark for each that is not known."""
        known = (self.topic, self.partition, self.offset)
        return "/".join("?" if each is None else str(each) for each in known)


def read_failure(headers: Headers) -> Failure | None:
    """The failure that headers describe; None where there is no header of any family.

    A record that failed more than once may have several families: the last writer adds its headers at the
    end. Of a name that repeats the last one counts.
    """
    family = next((one for name, _ in reversed(headers) if (one := _family(name))), None)
    return None if family is None else _READERS[family](_Values(dict(headers), _PREFIXES[family]))


def replayed_headers(record: Record, failure: Failure) -> Headers:
    """Headers of a dead letter's record as it is sent again: its own, one more replay, and the position.

    Args:
        record: The dead letter.
        failure: Read from its headers.
    """
    prefixes: tuple[str, ...] = (_PREFIXES[failure.family],)
    names = {REPLAYS, REPLAY_OF}
    if failure.family is HeaderFamily.KAFKA:  # this service can write Spring's headers beside its own
        prefixes = (*prefixes, SPRING_PREFIX)
        names |= _OWN
    kept = tuple(
        (encodable(name), value)
        for name, value in record.headers
        if not name.startswith(prefixes) and name not in names
    )
    return (
        *kept,
        (REPLAYS, str(failure.replays + 1).encode()),
        (REPLAY_OF, failure.position.encode()),
    )


@dataclass(frozen=True, slots=True)
class _Values:
    """Values of headers by name."""

    values: Mapping[str, bytes | None]
    prefix: str

    def text(self, *names: str) -> str:
        """The first of some headers of the family that is there and not empty, as text."""
        found = (self.values.get(self.prefix + name) for name in names)
        return next((value.decode(errors="replace") for value in found if value), "")

    def number(self, name: str) -> int | None:
        """A header of the family that is a whole number as text."""
        return _number(self.values.get(self.prefix + name))

    def binary(self, name: str, *, size: int) -> int | None:
        """A header of the family that is a big-endian integer of so many bytes."""
        value = self.values.get(self.prefix + name)
        number = int.from_bytes(value, signed=True) if value is not None and len(value) == size else -1
        return number if number >= 0 else None

    @property
    def replays(self) -> int:
        """Replays that the record itself counts."""
        return _number(self.values.get(REPLAYS)) or 0


def _family(name: str) -> HeaderFamily | None:
    return next((family for family, prefix in _PREFIXES.items() if name.startswith(prefix)), None)


def _number(value: bytes | None) -> int | None:
    return int(value) if value and len(value) <= _LONGEST_NUMBER and value.isdigit() else None


def _textual(found: _Values, family: HeaderFamily, **known: Any) -> Failure:
    """A failure of a family that writes numbers as text."""
    return Failure(
        family=family,
        topic=found.text("topic") or None,
        partition=found.number("partition"),
        offset=found.number("offset"),
        replays=found.replays,
        **known,
    )


def _kafka(found: _Values) -> Failure:
    return _textual(
        found,
        HeaderFamily.KAFKA,
        stage=(found.values.get(STAGE) or b"").decode(errors="replace"),
        reason=(found.values.get(REASON) or b"").decode(errors="replace"),
        message=found.text("message"),
        attempts=_number(found.values.get(ATTEMPTS)),
        truncated=_number(found.values.get(TRUNCATED)),
    )


def _connect(found: _Values) -> Failure:
    return _textual(
        found,
        HeaderFamily.CONNECT,
        stage=found.text("stage"),
        reason=found.text("exception.class.name"),
        message=found.text("exception.message"),
    )


def _streams(found: _Values) -> Failure:
    return _textual(
        found,
        HeaderFamily.STREAMS,
        reason=found.text("exception"),
        message=found.text("message"),
    )


def _spring(found: _Values) -> Failure:
    # Spring wraps what a listener raises; the cause is the exception that a person looks for.
    return Failure(
        family=HeaderFamily.SPRING,
        topic=found.text("original-topic") or None,
        partition=found.binary("original-partition", size=4),
        offset=found.binary("original-offset", size=8),
        reason=found.text("exception-cause-fqcn", "exception-fqcn", "key-exception-fqcn"),
        message=found.text("exception-message", "key-exception-message"),
        replays=found.replays,
    )


_READERS: dict[HeaderFamily, Callable[[_Values], Failure]] = {
    HeaderFamily.KAFKA: _kafka,
    HeaderFamily.CONNECT: _connect,
    HeaderFamily.STREAMS: _streams,
    HeaderFamily.SPRING: _spring,
}
