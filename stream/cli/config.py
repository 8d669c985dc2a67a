"""``padellm config``."""

import json
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from stream.settings import Settings
from stream.settings.values import variable
from stream.settings.variables import set_variable


def config(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the effective settings and where each comes from.

    Example: PADELLM_MAX_IN_FLIGHT=128 padellm config
    """
    values = Settings().model_dump(mode="json")
    rows = [_row(name, field, values[name]) for name, field in Settings.model_fields.items()]
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


def _row(name: str, field: FieldInfo, value: Any) -> dict[str, Any]:
    return {
        "name": name,
        "variable": variable(name),
        "value": value,
        "from": set_variable(name) or "default",
        "meaning": field.description,
    }
