import ast
import re
from pathlib import Path

import pytest
from pydantic import AliasChoices
from pydantic_core import PydanticUndefined

from stream import cli
from stream.contract.messages import EntityEvent
from stream.settings import Settings
from stream.worker.metrics import Telemetry

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "deploy/README.md",
    ROOT / "stream/local/samples/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table() -> str:
    """The settings as the README shows them."""
    rows = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [f"PADELLM_{name.upper()}"]
        default = "~/.cache/padellm" if name == "cache_dir" else field.default
        assert default is not PydanticUndefined, f"say here what the README shows as the default of {name}"
        shown = "" if default is None else f"`{default}`"
        rows.append(f"| {', '.join(f'`{one}`' for one in names)} | {shown} | {field.description} |")
    return "\n".join(rows)


def between(start: str, end: str) -> str:
    """The part of the README between two comments."""
    return README.split(f"<!-- {start} -->", 1)[1].split(f"<!-- {end} -->", 1)[0].strip()


def test_readme_settings_are_all_there():
    """The README's table of settings is what stream/settings.py says, row for row."""
    assert between("settings", "/settings") == settings_table()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_readme_commands_exist(page):
    """Every `padellm` command that a page names exists, with the options that it names."""
    code = re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in "\n".join(block or span for block, span in code).splitlines():
        for name, options in re.findall(r"\bpadellm ([a-z]+)(.*)", line):
            assert name in cli._COMMANDS, f"{page.name} names `padellm {name}`"
            command = cli._load(name)
            commands = [command, *getattr(command, "commands", {}).values()]
            known = {option for one in commands for each in one.params for option in each.opts} | {"--help"}
            assert set(re.findall(r"(?<=\s)--[a-z-]+", options)) <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_readme_links_resolve(page):
    """Every link to a file leads to one."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_readme_make_targets_exist(page):
    """Every `make` target that a page names is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", [ROOT / "docs/structure.md"], ids=lambda page: page.name)
def test_readme_structure_names_real_files(page):
    """Every file that docs/structure.md names in backticks exists."""
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text(encoding="utf-8"))
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "stream" / name).exists()]
    assert not missing


def test_readme_snippets_are_python():
    """The README's Python compiles."""
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        ast.parse(snippet)


def test_readme_event_is_valid():
    """The event that the README shows satisfies the contract."""
    (shown,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    EntityEvent.model_validate_json(shown)


def test_readme_operations_names_every_metric():
    """docs/operations.md explains every metric of the worker, and none that is not there."""
    samples = {"counter": "_total", "info": "_info"}
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    served = {metric.name + samples.get(metric.type, "") for metric in Telemetry().registry.collect()}
    assert set(re.findall(r"`(padellm_\w+)", page)) == served
