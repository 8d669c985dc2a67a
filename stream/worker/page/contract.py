"""The AsyncAPI document as one JSON value, with the names of this worker's topics."""

import json
from functools import cache
from typing import Any

import yaml

from stream.bundled import contract_file
from stream.settings import Settings

_FILE = "asyncapi.yaml"
_OTHER_FILE = "./"


def contract(settings: Settings) -> dict[str, Any]:
    """The document, the schemas of other files in the place of references to them.

    Reading it takes a tenth of a second the first time: call it in a thread.
    """
    document = _document()
    topics = {
        "documents": settings.documents_topic,
        "entities": settings.entities_topic,
        "deadLetters": settings.dead_letters_topic,
    }
    channels = {
        name: {**channel, "address": topics.get(name, channel["address"])}
        for name, channel in document["channels"].items()
    }
    return {**document, "channels": channels}


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = _whole(yaml.safe_load(contract_file(_FILE)))
    return document


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith(_OTHER_FILE):
        return json.loads(contract_file(reference.removeprefix(_OTHER_FILE)))
    return {name: _whole(item) for name, item in value.items()}
