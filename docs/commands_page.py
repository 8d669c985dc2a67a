# ruff: noqa: INP001 - a script beside the page it writes
"""Writes docs/commands.md, every command of ``padellm`` with its options, from stream/cli/.

.venv/bin/python docs/commands_page.py
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream import cli

PAGE = Path(__file__).with_name("commands.md")
HEAD = """\
# Commands

Settings come from the [environment](settings.md); a command line has what one call decides.

Written by `docs/commands_page.py` from `stream/cli/`.
"""


def page() -> str:
    """The whole page, in Markdown."""
    parts = [HEAD]
    for name in cli._COMMANDS:  # noqa: SLF001 - the list, for the page of that list
        command = cli._load(name)  # noqa: SLF001
        parts += _section(f"padellm {name}", command)
        for each in getattr(command, "commands", {}).values():
            parts += _section(f"padellm {name} {each.name}", each)
    return "\n".join(parts)


def _section(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}\n"
    words, _, examples = (command.help or "").partition("\n\nExample: ")
    yield "\n\n".join(map(_prose, words.split("\n\n"))) + "\n"
    if examples:
        yield "```sh"
        yield from (" ".join(each.split()) for each in examples.split("Example: "))
        yield "```\n"
    if rows := [_row(each) for each in command.params if each.name != "help" and not each.hidden]:
        yield "| | Meaning |\n|---|---|"
        yield from rows
        yield ""


def _row(parameter: Any) -> str:
    names = (parameter.metavar or parameter.name).upper()
    if parameter.param_type_name == "option":
        value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
        names = "`, `".join(f"{each}{value}" for each in (*parameter.opts, *parameter.secondary_opts))
    shown = isinstance(parameter.default, str | int | float) and not isinstance(parameter.default, bool)
    default = f" [default: {parameter.default}]" if shown else ""
    return f"| `{names}` | {_prose(parameter.help or '')}{default} |"


def _prose(text: str) -> str:
    """A text on one line, without what Markdown takes for a tag or the end of a cell."""
    return re.sub(r"\s+", " ", text).strip().replace("<", "&lt;").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
