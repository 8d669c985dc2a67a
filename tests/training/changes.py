"""Recipes with other values."""

from pathlib import Path
from typing import Any

from stream.training.recipe import Recipe
from tests.training.synthetic import recipe


def changed(plan: Recipe, **values: Any) -> Recipe:
    """A recipe with other values; those of sections as dictionaries, which leave the rest as it is."""
    content = plan.model_dump()
    for name, value in values.items():
        content[name] = content[name] | value if isinstance(content[name], dict) else value
    return type(plan).model_validate(content)


def starting_from(folder: Path, data: Path, output: Path, steps: int = 30, **values: Any) -> Recipe:
    """The made-up recipe, started from a checkpoint."""
    return changed(recipe(data, output, steps=steps), init_from=folder, **values)
