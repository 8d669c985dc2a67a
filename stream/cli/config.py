"""``padellm config``."""

import json
import os
import re
from typing import Annotated, Any

import typer
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from stream.settings import Settings

_SECRET = re.compile(r"password|secret|token|credential")


def config(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the effective settings and where each comes from.

    Example: PADELLM_MAX_IN_FLIGHT=128 padellm config
    """
    rows = [_row(name, field, Settings()) for name, field in Settings.model_fields.items()]
    if as_json:
        typer.echo(json.dumps({row["name"]: {"value": row["value"], "from": row["from"]} for row in rows}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("Variable", "Value", "From", "Meaning", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        style = None if row["from"] == "default" else "bold"
        table.add_row(row["variable"], str(row["value"]), row["from"], row["meaning"], style=style)
    Console().print(table)


def _row(name: str, field: FieldInfo, settings: Settings) -> dict[str, Any]:
    variables = _variables(name, field)
    set_by = next((variable for variable in variables if variable in os.environ), None)
    value = settings.model_dump(mode="json")[name]
    return {
        "name": name,
        "variable": variables[0],
        "value": "********" if value and _SECRET.search(name) else value,
        "from": set_by or "default",
        "meaning": field.description,
    }


def _variables(name: str, field: FieldInfo) -> list[str]:
    """The variables a setting is read from, first match wins."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [f"{Settings.model_config['env_prefix']}{name.upper()}"]
