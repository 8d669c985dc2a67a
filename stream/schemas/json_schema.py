"""JSON Schema 2020-12 of the messages."""

from typing import Any

from pydantic import BaseModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(model: type[BaseModel], *, name: str) -> dict[str, Any]:
    """The schema of a message; ``name`` ends its ``$id``."""
    return {"$schema": DIALECT, "$id": f"urn:padellm:schema:{name}", **model.model_json_schema()}
