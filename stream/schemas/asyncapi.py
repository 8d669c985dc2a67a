"""AsyncAPI 3.0 document of the three topics."""

from typing import Any

from stream.schemas import examples, headers
from stream.settings import Settings

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
                "a repeated event carries the same event_id (header ce_id)."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _MEDIA_TYPE,
        "channels": {
            "documents": _channel("documents_topic", "document"),
            "entities": _channel("entities_topic", "entityEvent"),
            "deadLetters": _channel("dead_letters_topic", "deadLetter"),
        },
        "operations": {
            "receiveDocument": _operation("receive", "documents", "document"),
            "sendEntityEvent": _operation("send", "entities", "entityEvent"),
            "sendDeadLetter": _operation("send", "deadLetters", "deadLetter"),
        },
        "components": {
            "messages": {
                "document": _document(),
                "entityEvent": _entity_event(),
                "deadLetter": _dead_letter(),
            }
        },
    }


def _channel(setting: str, message: str) -> dict[str, Any]:
    topic = Settings.model_fields[setting]
    return {
        "address": topic.default,
        "description": f"{topic.description} Setting: PADELLM_{setting.upper()}.",
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
        "headers": headers.document_headers(),
        "payload": _payload("document"),
        "bindings": _key("UTF-8. The document id of a document that names none."),
        "examples": [_example(example) for example in examples.DOCUMENT_EXAMPLES],
    }


def _entity_event() -> dict[str, Any]:
    return {
        "name": "entityEvent",
        "title": "Entity event",
        "contentType": _MEDIA_TYPE,
        "headers": headers.event_headers(),
        "payload": _payload("entity-event"),
        "bindings": _key("UTF-8. The document id."),
        "examples": [_example(examples.EVENT_EXAMPLE)],
    }


def _dead_letter() -> dict[str, Any]:
    return {
        "name": "deadLetter",
        "title": "Dead letter",
        "description": "The record's own key, value and headers, and headers that say what stopped it.",
        "contentType": "application/octet-stream",
        "headers": headers.dead_letter_headers(),
        "payload": {"description": "The original bytes, whatever they are."},
        "bindings": _key("The record's own key."),
        "examples": [_example(examples.DEAD_LETTER_EXAMPLE)],
    }


def _payload(name: str) -> dict[str, Any]:
    return {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": f"./{name}.schema.json"}}


def _key(description: str) -> dict[str, Any]:
    return {"kafka": {"key": {"type": "string", "description": description}, "bindingVersion": "0.5.0"}}


def _example(example: examples.Example) -> dict[str, Any]:
    shown: dict[str, Any] = {"summary": example.summary, "payload": example.payload}
    return {**shown, "headers": example.headers} if example.headers else shown
