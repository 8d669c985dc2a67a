"""The page of a recipe's fields."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "recipe_fields.py"


def test_recipe_page_is_current():
    """docs/recipes.md is the output of docs/recipe_fields.py, which needs a description of every field."""
    spec = importlib.util.spec_from_file_location("recipe_fields", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run docs/recipe_fields.py"
