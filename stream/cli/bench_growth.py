"""``padellm bench growth``: tables, and charts of them."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stream.corpora.document import label_inventory
from stream.corpora.jsonl import read_documents
from stream.engine.model import Model
from stream.errors import ConfigurationError
from stream.evaluation.growth import Axis, Growth, exponent
from stream.evaluation.line_chart import line_chart
from stream.evaluation.strategies import Opener
from stream.messages import Document
from stream.ner.bundled import model_folder
from stream.ner.template import PromptTemplate
from stream.settings import Settings

_TEXTS = 5000

AXES = {
    "text": "tokens of the text",
    "labels": "labels",
    "mentions": "mentions",
    "in_flight": "documents in flight",
}


async def run(data: Path | None, *, model: Path | None, repeats: int) -> dict[str, Axis]:
    """Measure all axes.

    Raises:
        ConfigurationError: The data cannot be read.
        CheckpointError: The folder holds no model that can be served.
    """
    settings = Settings()
    folder = model_folder(model or settings.model)
    template = PromptTemplate.load(folder)
    opener = Opener(Model.load(folder, threads=settings.engine_threads, int8=settings.int8), template)
    if data is None:
        lines = (files("stream.stack") / "samples" / "documents.jsonl").read_text("utf-8").splitlines()
        texts, labels = [Document.model_validate_json(line).text for line in lines], []
    else:
        texts = [document.text for document in islice(read_documents(data), _TEXTS)]
        labels = label_inventory(read_documents(data))
    if not texts:
        raise ConfigurationError(f"{data} holds no document")
    growth = Growth(opener, texts, labels or template.config.default_labels, repeats=repeats)
    measure: dict[str, Callable[[], Awaitable[Axis]]] = {
        "text": growth.text_tokens,
        "labels": growth.labels,
        "mentions": growth.mentions,
        "in_flight": growth.in_flight,
    }
    axes = {}
    with Console(stderr=True).status("") as status:
        for name, title in AXES.items():
            status.update(f"more {title}")
            axes[name] = await measure[name]()
    return axes


def summary(axes: dict[str, Axis]) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        name: {
            "exponent": round(exponent(axis), 3),
            "points": [{key: round(value, 3) for key, value in asdict(point).items()} for point in axis],
        }
        for name, axis in axes.items()
    }


def show(axes: dict[str, Axis]) -> None:
    """A table for every axis, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    for name, axis in axes.items():
        columns = (AXES[name], "ms/document", "passes", "tokens read", "KV pool filled")
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for column in columns:
            table.add_column(column, justify="right")
        for point in axis:
            filled = f"{100 * point.slots:.0f}%" if point.slots else "-"
            figures = (f"{point.ms:.2f}", f"{point.passes:.2f}", f"{point.read:.0f}", filled)
            table.add_row(str(point.size), *figures)
        console.print(table)
        console.print(f"grows as size to the {exponent(axis):.2f} in its upper half\n", style="dim")


def draw(axes: dict[str, Axis], folder: Path) -> None:
    """A chart of every axis, as ``growth-<axis>.svg``.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, axis in axes.items():
            points = [(point.size, point.ms) for point in axis if point.size]
            chart = line_chart(f"Milliseconds a document, by {AXES[name]}", AXES[name], "ms", points)
            (folder / f"growth-{name.replace('_', '-')}.svg").write_text(chart, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from error
