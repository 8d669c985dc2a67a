"""The contract files of ``schemas/``: AsyncAPI 3.0 of the topics, JSON Schema and Avro of each message."""

import json
import re
from typing import Any

import yaml
from pydantic import BaseModel

from stream.contract.failures import REPLAY_OF, REPLAYS
from stream.contract.headers import (
    ATTEMPTS,
    DEAD_LETTER_PREFIX,
    EVENT_TYPE,
    REASON,
    ROW_TYPE,
    STAGE,
    TRUNCATED,
)
from stream.contract.messages import DeadLetter, Document, EntityEvent, EntityRow, ShadowDifference
from stream.contract.reasons import Reason, Stage
from stream.schemas import examples
from stream.schemas.avro import avro_schema
from stream.settings import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(model: type[BaseModel], *, name: str) -> dict[str, Any]:
    """The schema of a message; ``name`` ends its ``$id``."""
    return {"$schema": DIALECT, "$id": f"urn:padellm:schema:{name}", **model.model_json_schema()}


_NATURAL = {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"}
_TRACE = {
    "traceparent": {
        "type": "string",
        "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        "description": "W3C Trace Context; exactly one. An event continues the trace of its document.",
    },
    "tracestate": {"type": "string", "description": "W3C Trace Context; present where the document had one."},
}


def document_headers_schema() -> dict[str, Any]:
    """Headers of a document; all are optional, others are kept on a dead letter and else ignored."""
    replay = {
        REPLAYS: {**_NATURAL, "description": "Times that padellm replay has sent the document again."},
        REPLAY_OF: {"type": "string", "description": "topic/partition/offset that it had before the last."},
    }
    return {"type": "object", "properties": {**_TRACE, **replay}}


def event_headers_schema() -> dict[str, Any]:
    """Headers of an entity event: CloudEvents 1.0 in the Kafka binding's binary mode, and the trace."""
    return _cloud_event_schema("event_id", EVENT_TYPE, {"enum": [_MEDIA_TYPE, "application/avro"]})


def row_headers_schema() -> dict[str, Any]:
    """Headers of a row of an entity, likewise."""
    return _cloud_event_schema("entity_id", ROW_TYPE, {"const": _MEDIA_TYPE})


def _cloud_event_schema(identity: str, kind: str, content_type: dict[str, Any]) -> dict[str, Any]:
    properties = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "description": f"The {identity}, the same on every repeat."},
        "ce_type": {"const": kind},
        "ce_source": {"type": "string", "description": "/kafka/{topic}/{partition} of the document."},
        "ce_subject": {"type": "string", "description": "The document id, percent-encoded."},
        "ce_time": {"type": "string", "format": "date-time", "description": "Timestamp of the document."},
        "content-type": content_type,
    }
    required = [*properties, "traceparent"]
    return {"type": "object", "required": required, "properties": {**properties, **_TRACE}}


def dead_letter_headers_schema() -> dict[str, Any]:
    """Headers of a dead letter: the record's own, KIP-1191's, stage and reason."""
    properties = {
        f"{DEAD_LETTER_PREFIX}topic": {"type": "string", "description": "Topic the record came from."},
        f"{DEAD_LETTER_PREFIX}partition": {**_NATURAL, "description": "Its partition there."},
        f"{DEAD_LETTER_PREFIX}offset": {**_NATURAL, "description": "Its offset there."},
        f"{DEAD_LETTER_PREFIX}group": {"type": "string", "description": "Consumer group of the worker."},
        f"{DEAD_LETTER_PREFIX}message": {"type": "string", "description": "What was wrong and what to do."},
        ATTEMPTS: {**_NATURAL, "description": "Times that the stage was tried."},
        STAGE: {"enum": [stage.value for stage in Stage], "description": "Where it was stopped."},
        REASON: {"enum": [reason.value for reason in Reason], "description": "A stable code."},
    }
    cut = {**_NATURAL, "description": "Present where the value had to be cut: how many bytes it had."}
    return {"type": "object", "required": list(properties), "properties": {**properties, TRUNCATED: cut}}


_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
_ROWS_ADDRESS = "entity-rows"  # an example: there is none by default
_MEDIA_TYPE = "application/json"
_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"


def asyncapi() -> dict[str, Any]:
    """The document, with the topics at their default names."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:padellm:stream",
        "info": {
            "title": "PaDeLLM-NER stream",
            "version": "1.0.0",
            "description": (
                "Documents in, entity events out, as seen by the worker. Delivery is at least once; "
                "a repeated event carries the same event_id (header ce_id). "
                "With PADELLM_DELIVERY=exactly_once a read_committed reader sees each outcome once."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _MEDIA_TYPE,
        "channels": {
            "documents": _channel("documents_topic", "document"),
            "entities": _channel("entities_topic", "entityEvent"),
            "deadLetters": _channel("dead_letters_topic", "deadLetter"),
            "entityRows": _channel("entity_rows_topic", "entityRow", address=_ROWS_ADDRESS),
            "shadow": _channel("shadow_topic", "shadowDifference"),
        },
        "operations": {
            "receiveDocument": _operation("receive", "documents", "document"),
            "sendEntityEvent": _operation("send", "entities", "entityEvent"),
            "sendDeadLetter": _operation("send", "deadLetters", "deadLetter"),
            "sendEntityRow": _operation("send", "entityRows", "entityRow"),
            "sendShadowDifference": _operation("send", "shadow", "shadowDifference"),
        },
        "components": {
            "messages": {
                "document": _document(),
                "entityEvent": _entity_event(),
                "deadLetter": _dead_letter(),
                "entityRow": _entity_row(),
                "shadowDifference": _shadow_difference(),
            }
        },
    }


def _channel(setting: str, message: str, address: str | None = None) -> dict[str, Any]:
    topic = Settings.model_fields[setting]
    words = _LINK.sub(r"\1", topic.description or "")
    return {
        "address": address or topic.default,
        "description": f"{words} Setting: PADELLM_{setting.upper()}.",
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
    }


def _operation(action: str, channel: str, message: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _document() -> dict[str, Any]:
    return {
        "name": "document",
        "title": "Document",
        "contentType": _MEDIA_TYPE,
        "headers": document_headers_schema(),
        "payload": _payload("document"),
        "bindings": _key("UTF-8. The document id of a document that names none."),
        "examples": [_example(example) for example in examples.DOCUMENT_EXAMPLES],
    }


def _entity_event() -> dict[str, Any]:
    return {
        "name": "entityEvent",
        "title": "Entity event",
        "contentType": _MEDIA_TYPE,
        "headers": event_headers_schema(),
        "payload": _payload("entity-event"),
        "bindings": _key("UTF-8. The document id."),
        "examples": [_example(examples.EVENT_EXAMPLE)],
    }


def _entity_row() -> dict[str, Any]:
    return {
        "name": "entityRow",
        "title": "Entity row",
        "contentType": _MEDIA_TYPE,
        "headers": row_headers_schema(),
        "payload": _payload("entity-row"),
        "bindings": _key("UTF-8. The document id."),
        "examples": [_example(example) for example in examples.ROW_EXAMPLES],
    }


def _shadow_difference() -> dict[str, Any]:
    return {
        "name": "shadowDifference",
        "title": "Shadow difference",
        "contentType": _MEDIA_TYPE,
        "headers": {"type": "object", "properties": {"content-type": {"const": _MEDIA_TYPE}}},
        "payload": _payload("shadow-difference"),
        "bindings": _key("UTF-8. The document id."),
        "examples": [_example(examples.SHADOW_EXAMPLE)],
    }


def _dead_letter() -> dict[str, Any]:
    return {
        "name": "deadLetter",
        "title": "Dead letter",
        "description": "The record's own key, value and headers, and headers with the reason.",
        "contentType": "application/octet-stream",
        "headers": dead_letter_headers_schema(),
        "payload": {"description": "The original bytes, whatever they are."},
        "bindings": _key("The record's own key."),
        "examples": [_example(examples.DEAD_LETTER_EXAMPLE)],
    }


def _payload(name: str) -> dict[str, Any]:
    return {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": f"./{name}.schema.json"}}


def _key(description: str) -> dict[str, Any]:
    return {"kafka": {"key": {"type": "string", "description": description}, "bindingVersion": "0.5.0"}}


def _example(example: examples.RecordExample) -> dict[str, Any]:
    shown: dict[str, Any] = {"summary": example.summary, "payload": example.payload}
    return {**shown, "headers": example.headers} if example.headers else shown


MODELS: dict[str, type[BaseModel]] = {
    "document": Document,
    "entity-event": EntityEvent,
    "entity-row": EntityRow,
    "shadow-difference": ShadowDifference,
    "dead-letter": DeadLetter,
}


class _Dumper(yaml.SafeDumper):
    """Writes every value out: references (``&id001``) save lines and cost readers."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def contract_files() -> dict[str, str]:
    """Every contract file, as it must be committed."""
    files = {f"{name}.schema.json": _json(json_schema(model, name=name)) for name, model in MODELS.items()}
    files |= {f"{name}.avsc": _json(avro_schema(model)) for name, model in MODELS.items()}
    files["asyncapi.yaml"] = yaml.dump(
        asyncapi(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110
    )
    return files


def _json(schema: object) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
