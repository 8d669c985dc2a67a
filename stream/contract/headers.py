"""Kafka headers of what the worker sends."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from stream.contract.messages import DeadLetter, EntityEvent
from stream.contract.record import Headers, Record

EVENT_TYPE = "padellm.entities.v1"
DEAD_LETTER_PREFIX = "__dlq.errors."
STAGE = "padellm.stage"
REASON = "padellm.reason"
TRUNCATED = "padellm.truncated"

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def event_headers(event: EntityEvent, record: Record) -> Headers:
    """CloudEvents attributes in binary mode (Kafka binding, 3.2), and exactly one ``traceparent``."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event.event_id,
        "ce_type": EVENT_TYPE,
        "ce_source": f"/kafka/{quote(record.topic)}/{record.partition}",
        "ce_subject": quote(event.document_id, safe=""),
        # The time of the document, not of this try: a repeat is the same event.
        "ce_time": datetime.fromtimestamp(record.timestamp, UTC).isoformat(timespec="milliseconds"),
        "content-type": "application/json",
    }
    return (*_encoded(attributes), *_trace(record, event.event_id))


def dead_letter_headers(letter: DeadLetter, record: Record, *, truncated: bool) -> Headers:
    """The original headers, and beside them where the record came from and why it is here.

    The names are those of Kafka's share groups (KIP-1191); headers that an earlier passage through a
    dead-letter topic left under the same names are replaced.
    """
    own = {
        **{
            DEAD_LETTER_PREFIX + name: str(getattr(letter, name))
            for name in ("topic", "partition", "offset", "group", "message")
        },
        STAGE: letter.stage.value,
        REASON: letter.reason,
    }
    if truncated:
        own[TRUNCATED] = str(len(record.value or b""))
    kept = tuple(header for header in record.headers if header[0] not in {*own, TRUNCATED})
    return (*kept, *_encoded(own))


def size(headers: Headers) -> int:
    """Bytes that headers take in a record, with room for their lengths."""
    return sum(len(name.encode()) + len(value or b"") + 10 for name, value in headers)


def _encoded(attributes: Mapping[str, str]) -> Headers:
    return tuple((name, value.encode()) for name, value in attributes.items())


def _trace(record: Record, event_id: str) -> Headers:
    """The trace that the record came with, or one made from the event id, so that a repeat has the same."""
    for name, value in record.headers:
        if name.lower() == "traceparent" and value and _TRACEPARENT.fullmatch(value):
            states = [state for key, state in record.headers if key.lower() == "tracestate" and state]
            return (("traceparent", value), *(("tracestate", state) for state in states[:1]))
    digest = hashlib.sha256(event_id.encode()).hexdigest()
    return (("traceparent", f"00-{digest[:32]}-{digest[32:48]}-00".encode()),)
