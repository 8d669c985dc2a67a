"""Every promise of docs/delivery.md is held by tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/delivery.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_promises_name_tests_that_exist():
    """Each test that the page names is a function of its file."""
    named = TEST.findall(PAGE)
    assert named
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or name not in _functions(ROOT / file)
    ]
    assert missing == []


def test_promises_each_name_a_test():
    """No row of the page's tables is without a test."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert [row for row in rows if not TEST.search(row) and not row.endswith("| Tests |")] == []


def _functions(file: Path) -> set[str]:
    kinds = ast.FunctionDef, ast.AsyncFunctionDef
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds)}
