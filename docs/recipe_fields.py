# ruff: noqa: INP001 - a script beside the page it writes
"""Writes docs/recipes.md, every field of a training recipe, from stream/training/recipe.py and sections.py.

.venv/bin/python docs/recipe_fields.py
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

from stream.training.recipe import Recipe
from stream.training.sections import Section

PAGE = Path(__file__).with_name("recipes.md")
HEAD = """\
# Every field of a training recipe

Written by `docs/recipe_fields.py`; [training.md](training.md) is the guide. `[ner]` becomes the checkpoint's
`ner_config.json` (`stream/ner/config.py`).
"""
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def page() -> str:
    """The whole page, in Markdown."""
    sections = [*_sections(), ("LrCycle", "[[training.lr_schedule]]")]
    models = {model.__name__: model for model in Section.__subclasses__()}
    parts = [HEAD, _section("The top", Recipe)]
    parts += [_section(f"`{title}`", models[name]) for name, title in sections]
    return "\n".join(parts).replace("``", "`")


def _sections() -> list[tuple[str, str]]:
    """The model of each table of a recipe, with its heading in TOML."""
    known = {model.__name__ for model in Section.__subclasses__()}
    return [
        (reference, f"[[{name}]]" if "items" in field else f"[{name}]")
        for name, field in Recipe.model_json_schema()["properties"].items()
        for reference in re.findall(r"#/\$defs/(\w+)", json.dumps(field))
        if reference in known
    ]


def _section(title: str, model: type[Section]) -> str:
    document = inspect.getdoc(model) or ""
    about, _, listed = document.partition("\n\nAttributes:\n")
    meanings = {name: " ".join(text.split()) for name, text in _attributes(listed)}
    schema = model.model_json_schema()
    rows = [
        f"| `{name}` | {_values(field, schema)} | {_default(name, field, schema)} | {meanings[name]} |"
        for name, field in schema["properties"].items()
        if name in meanings or not _is_table(field, schema)
    ]
    head = ["| Field | Values | Default | |", "|---|---|---|---|"]
    return "\n".join([f"## {title}", "", " ".join(about.split()), "", *head, *rows, ""])


def _attributes(listed: str) -> list[tuple[str, str]]:
    return re.findall(r"^    (\w+): (.*?)(?=^    \w+:|\Z)", listed, flags=re.MULTILINE | re.DOTALL)


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A field's own schema, its references followed and null left out."""
    if "$ref" in field:
        return dict(schema["$defs"][field["$ref"].rpartition("/")[-1]])
    options = [_resolved(each, schema) for each in field.get("anyOf", []) if each.get("type") != "null"]
    if options:
        choices = [value for each in options for value in _choices(each)]
        return options[0] | {"const": None, "enum": choices} if choices else options[0]
    return field


def _choices(field: dict[str, Any]) -> list[Any]:
    return [field["const"]] if field.get("const") else field.get("enum", [])


def _is_table(field: dict[str, Any], schema: dict[str, Any]) -> bool:
    return "properties" in _resolved(field.get("items", field), schema)


def _values(field: dict[str, Any], schema: dict[str, Any]) -> str:
    field = _resolved(field, schema)
    if choices := _choices(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    inner = field.get("items") or next(iter(field.get("prefixItems", [])), None)
    if inner:
        return f"array: {_values(inner, schema)}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"table: {_values(field['additionalProperties'], schema)}"
    names = {"string": "text", "object": "table"}
    kind = names.get(field.get("type", ""), field.get("type", "any"))
    return " ".join(
        [kind, " and ".join(text.format(field[name]) for name, text in BOUNDS.items() if name in field)]
    ).strip()


def _default(name: str, field: dict[str, Any], schema: dict[str, Any]) -> str:
    if name in schema.get("required", ()):
        return "required"
    default = field.get("default")
    return "" if default in (None, [], {}) else f"`{json.dumps(default)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
