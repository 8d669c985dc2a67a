"""What ``schemas/`` holds: file name to text."""

import json

import yaml
from pydantic import BaseModel

from stream.messages import DeadLetter, Document, EntityEvent
from stream.schemas.asyncapi import asyncapi
from stream.schemas.avro import avro_schema
from stream.schemas.json_schema import json_schema

MODELS: dict[str, type[BaseModel]] = {
    "document": Document,
    "entity-event": EntityEvent,
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
