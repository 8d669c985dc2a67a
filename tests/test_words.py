"""The words of the code: one name a class, and docstrings that a search finds."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = [*sorted((ROOT / "stream").rglob("*.py")), *sorted((ROOT / "triton_models").rglob("*.py"))]
GIVEN = {"TritonPythonModel"}  # Triton's python backend asks each model for it
QUESTIONS = {"What", "How", "Which", "Where", "Whether", "Who", "That", "Those"}


def nodes(*kinds):
    """Every node of some kinds, with its file."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, kinds):
                yield file, node


def test_words_name_every_class_once():
    """No two classes share a name, so that a reader of one is sure which it is."""
    places = defaultdict(list)
    for file, node in nodes(ast.ClassDef):
        places[node.name.lstrip("_")].append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in GIVEN} == {}


def test_words_begin_docstrings_with_a_noun_or_an_imperative():
    """No docstring begins with a question word: a noun phrase is found in a search."""
    begun = [
        f"{file.relative_to(ROOT)}: {text.splitlines()[0]}"
        for file, node in nodes(ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if (text := ast.get_docstring(node)) and text.split()[0] in QUESTIONS
    ]
    assert begun == []
