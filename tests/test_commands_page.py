"""The page of the commands."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "docs" / "commands_page.py"


def test_commands_page_is_current():
    """docs/commands.md is the output of docs/commands_page.py."""
    spec = importlib.util.spec_from_file_location("commands_page", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run docs/commands_page.py"
