"""Kafka headers of what the worker sends."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from pydantic import ValidationError

from stream import tracing
from stream.contract.messages import DeadLetter, EntityEvent, EntityRow
from stream.contract.record import Headers, Record

EVENT_TYPE = "padellm.entities.v1"
ROW_TYPE = "padellm.entity.v1"
DEAD_LETTER_PREFIX = "__dlq.errors."
SPRING_PREFIX = "kafka_dlt-"
ATTEMPTS = f"{DEAD_LETTER_PREFIX}delivery.count"
STAGE = "padellm.stage"
REASON = "padellm.reason"
TRUNCATED = "padellm.truncated"
_TRACE_HEADERS = {"traceparent", "tracestate"}

_JSON = "application/json"

# W3C Trace Context: version 00 ends with the flags; later versions may add fields, to be passed on unread.
_TRACEPARENT = re.compile(
    rb"(?:(?P<first>00)|(?!00|ff)[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    rb"(?(first)|(?:-[\x21-\x7e]*)?)"
)


def event_headers(event: EntityEvent, record: Record, *, content_type: str = _JSON) -> Headers:
    """CloudEvents attributes in binary mode (Kafka binding, 3.2), and exactly one ``traceparent``."""
    return _cloud_event(event.event_id, EVENT_TYPE, event, record, content_type)


def row_headers(row: EntityRow, record: Record) -> Headers:
    """``event_headers`` for a row: its id is that of the entity, its trace that of the event."""
    return _cloud_event(row.entity_id, ROW_TYPE, row, record, _JSON)


def _cloud_event(
    identity: str, kind: str, message: EntityEvent | EntityRow, record: Record, content_type: str
) -> Headers:
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": identity,
        "ce_type": kind,
        "ce_source": _source(record.topic, record.partition),
        "ce_subject": quote(message.document_id, safe=""),
        "content-type": content_type,
    }
    # The time of the document, not of this try: a repeat is the same event.
    if time := moment(record.timestamp):
        attributes["ce_time"] = time.isoformat(timespec="milliseconds")
    return (*_encoded(attributes), *_trace(record, message.event_id))


def dead_letter_headers(
    letter: DeadLetter, record: Record, *, truncated: bool, spring: bool = False
) -> Headers:
    """The original headers, and beside them where the record came from and why it is here.

    The names are those of Kafka's share groups (KIP-1191); headers that an earlier passage through a
    dead-letter topic left under the same names are replaced.

    Args:
        letter: Reason and origin.
        record: The original.
        truncated: Whether its value was cut.
        spring: Write Spring's headers too.
    """
    own = {
        **{
            DEAD_LETTER_PREFIX + name: str(getattr(letter, name))
            for name in ("topic", "partition", "offset", "group", "message")
        },
        ATTEMPTS: str(letter.attempts),
        STAGE: letter.stage.value,
        REASON: letter.reason,
    }
    if truncated:
        own[TRUNCATED] = str(len(record.value or b""))
    beside = _spring(letter, record) if spring else {}
    replaced = {*own, *beside, TRUNCATED}
    trace = tracing.carrier()  # in place of the record's, whose trace it continues
    kept = tuple(
        (encodable(name), value)
        for name, value in record.headers
        if name not in replaced and not (trace and name.lower() in _TRACE_HEADERS)
    )
    return (*kept, *beside.items(), *_encoded(own), *_encoded(trace))


def size(headers: Headers) -> int:
    """Bytes that headers take in a record, with room for their lengths."""
    return sum(len(encodable(name).encode()) + len(value or b"") + 10 for name, value in headers)


def has_decodable_names(headers: Headers) -> bool:
    """Return whether all names were UTF-8; ``Record.headers`` escapes other bytes as surrogates."""
    return all(name == encodable(name) for name, _ in headers)


def encodable(name: str) -> str:
    """Spell each byte that was not UTF-8 as a backslash, an x and two hex digits."""
    if name.isascii():
        return name
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def moment(timestamp: float | None) -> datetime | None:
    """A timestamp of Kafka as a time in UTC; None where the record has none, or one that is no date.

    Brokers take any number from a producer; microseconds in place of milliseconds are the year 58881.
    """
    if timestamp is None:
        return None
    try:
        return datetime.fromtimestamp(timestamp, UTC)
    except (ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=1024)
def _source(topic: str, partition: int) -> str:
    return f"/kafka/{quote(topic)}/{partition}"


def _spring(letter: DeadLetter, record: Record) -> dict[str, bytes]:
    """Headers of Spring's dead letters; their numbers are big-endian, the times milliseconds."""
    values = {
        "original-topic": letter.topic.encode(),
        "original-partition": letter.partition.to_bytes(4),
        "original-offset": letter.offset.to_bytes(8),
        "original-consumer-group": letter.group.encode(),
        "exception-fqcn": letter.reason.encode(),
        "exception-message": letter.message.encode(),
    }
    if time := moment(record.timestamp):
        values["original-timestamp"] = round(time.timestamp() * 1000).to_bytes(8, signed=True)
    return {SPRING_PREFIX + name: value for name, value in values.items()}


def _encoded(attributes: Mapping[str, str]) -> Headers:
    return tuple((name, value.encode()) for name, value in attributes.items())


def trace_of(record: Record) -> dict[str, str]:
    """The trace that a record came with: ``traceparent`` and, where there is one, ``tracestate``."""
    for name, value in record.headers:
        if name.lower() == "traceparent" and value and _TRACEPARENT.fullmatch(value):
            states = [state for key, state in record.headers if key.lower() == "tracestate" and state]
            known = [("traceparent", value), *(("tracestate", state) for state in states[:1])]
            return {name: header.decode(errors="replace") for name, header in known}
    return {}


def _trace(record: Record, event_id: str) -> Headers:
    """The present span's trace, or the record's, or one of the event id, so that a repeat has the same."""
    if known := tracing.carrier() or trace_of(record):
        return _encoded(known)
    digest = hashlib.sha256(event_id.encode()).hexdigest()
    return (("traceparent", f"00-{digest[:32]}-{digest[32:48]}-00".encode()),)


def read_dead_letter(headers: Iterable[tuple[str, bytes | None]]) -> DeadLetter | None:
    """The dead letter that a record's headers describe; None if one of them is missing or invalid."""
    values = {name: (value or b"").decode(errors="replace") for name, value in headers}
    names = {name: DEAD_LETTER_PREFIX + name for name in DeadLetter.model_fields}
    names |= {"stage": STAGE, "reason": REASON, "attempts": ATTEMPTS}
    try:
        return DeadLetter.model_validate(
            {field: values[name] for field, name in names.items() if name in values}
        )
    except ValidationError:
        return None
