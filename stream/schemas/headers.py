"""Record headers as JSON Schemas. Header values are UTF-8 strings on the wire, numbers included.

The names and constants are the worker's own (``stream.service.headers``); a test proves what it sends to fit.
"""

from typing import Any

from stream.messages import Stage
from stream.service.headers import DEAD_LETTER_PREFIX, EVENT_TYPE, REASON, STAGE, TRUNCATED
from stream.service.reasons import Reason

_NATURAL = {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"}
_TRACE = {
    "traceparent": {
        "type": "string",
        "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        "description": "W3C Trace Context; exactly one. An event continues the trace of its document.",
    },
    "tracestate": {"type": "string", "description": "W3C Trace Context; present where the document had one."},
}


def document_headers() -> dict[str, Any]:
    """Headers of a document; all are optional, others are kept on a dead letter and else ignored."""
    return {"type": "object", "properties": _TRACE}


def event_headers() -> dict[str, Any]:
    """Headers of an entity event: CloudEvents 1.0 in the Kafka binding's binary mode, and the trace."""
    properties = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "description": "The event_id, the same on every repeat."},
        "ce_type": {"const": EVENT_TYPE},
        "ce_source": {"type": "string", "description": "/kafka/{topic}/{partition} of the document."},
        "ce_subject": {"type": "string", "description": "The document id, percent-encoded."},
        "ce_time": {"type": "string", "format": "date-time", "description": "Timestamp of the document."},
        "content-type": {"const": "application/json"},
    }
    required = [*properties, "traceparent"]
    return {"type": "object", "required": required, "properties": {**properties, **_TRACE}}


def dead_letter_headers() -> dict[str, Any]:
    """Headers of a dead letter: the record's own, KIP-1191's, stage and reason."""
    properties = {
        f"{DEAD_LETTER_PREFIX}topic": {"type": "string", "description": "Topic the record came from."},
        f"{DEAD_LETTER_PREFIX}partition": {**_NATURAL, "description": "Its partition there."},
        f"{DEAD_LETTER_PREFIX}offset": {**_NATURAL, "description": "Its offset there."},
        f"{DEAD_LETTER_PREFIX}group": {"type": "string", "description": "Consumer group of the worker."},
        f"{DEAD_LETTER_PREFIX}message": {"type": "string", "description": "What was wrong and what to do."},
        STAGE: {"enum": [stage.value for stage in Stage], "description": "Where it was stopped."},
        REASON: {"enum": [reason.value for reason in Reason], "description": "A stable code."},
    }
    cut = {**_NATURAL, "description": "Present where the value had to be cut: how many bytes it had."}
    return {"type": "object", "required": list(properties), "properties": {**properties, TRUNCATED: cut}}
