"""Every promise of docs/delivery.md and docs/threat-model.md is held by tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = ("delivery.md", "threat-model.md")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("page", PAGES)
def test_promises_name_tests_that_exist(page):
    """Each test that the page names is a function of its file."""
    named = TEST.findall(_text(page))
    assert named
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or name not in _functions(ROOT / file)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_promises_each_name_a_test(page):
    """No row of the page's tables is without a test."""
    rows = [line for line in _text(page).splitlines() if line.startswith("| ")]
    assert [row for row in rows if not TEST.search(row) and not row.endswith("| Tests |")] == []


def _text(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def _functions(file: Path) -> set[str]:
    kinds = ast.FunctionDef, ast.AsyncFunctionDef
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds)}
