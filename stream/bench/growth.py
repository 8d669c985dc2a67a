"""``padellm bench growth``: a document's cost by text, labels, mentions and documents in flight."""

import math
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from statistics import linear_regression, median
from typing import Any

from rich.console import Console

from stream.bench.cases import CaseMaker
from stream.bench.load import bench_documents, serve_saturated
from stream.bench.strategies import GOLD, Opener
from stream.bundled import model_folder
from stream.contract.messages import Document
from stream.corpora.document import AnnotatedDocument, GoldEntity, label_inventory
from stream.corpora.jsonl import read_documents
from stream.engine.decoder import Decoder, Statistics
from stream.engine.model.session import Model
from stream.errors import ConfigurationError
from stream.evaluation.tables import terminal_table
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings

TEXT_TOKENS = (50, 100, 200, 500, 1000, 2000, 4000)
LABELS = (1, 2, 4, 8, 16, 32, 64)
MENTIONS = (0, 1, 2, 4, 8, 16, 32, 64)
IN_FLIGHT = (1, 4, 16, 64, 256)

_MENTION_LABELS = 8
_MENTION_TEXT_TOKENS = 140


@dataclass(frozen=True, slots=True)
class Point:
    """Cost at one size.

    Attributes:
        size: The value on the axis.
        ms: Milliseconds a document: the median one at a time, the mean with many in flight.
        passes: Forward passes a document.
        read: Tokens read a document.
        slots: Share of the KV cache in use at the end, at most 1.
    """

    size: int
    ms: float
    passes: float
    read: float
    slots: float


Axis = list[Point]


def exponent(axis: Axis) -> float:
    """Exponent of the power law that fits the upper half of an axis: 1 is linear, less is better."""
    upper = [point for point in axis if point.size > 0][-max(2, len(axis) // 2 + 1) :]
    sizes, costs = [math.log(point.size) for point in upper], [math.log(point.ms) for point in upper]
    return linear_regression(sizes, costs).slope


class Growth:
    """Measures the axes on one model.

    Args:
        opener: Of the model.
        texts: Running text; pieces of it are put together.
        labels: Asked for on the other axes.
        repeats: Documents at every point.
    """

    def __init__(self, opener: Opener, texts: Sequence[str], labels: Sequence[str], *, repeats: int) -> None:
        self._opener = opener
        self._template = opener.template
        self._texts = texts
        self._labels = list(labels)
        self._repeats = repeats

    async def text_tokens(self, sizes: Sequence[int] = TEXT_TOKENS) -> Axis:
        """Cost by tokens of the text, which is cut into windows."""
        return [await self._documents(size, self._of_length(size), self._labels) for size in sizes]

    async def labels(self, sizes: Sequence[int] = LABELS) -> Axis:
        """Cost by number of labels, the checkpoint's own and then made-up ones."""
        known = list(self._template.config.labels)
        names = [*known, *(f"thing {number}" for number in range(max(sizes)))]
        texts = list(islice(cycle(self._texts), self._repeats + 1))
        return [await self._documents(size, texts, names[:size]) for size in sizes]

    async def mentions(self, sizes: Sequence[int] = MENTIONS) -> Axis:
        """Cost by number of mentions, forced, of the same few labels: words of a text."""
        labels = list(islice(cycle(self._template.config.labels), _MENTION_LABELS))
        texts = self._of_length(_MENTION_TEXT_TOKENS)
        axis = []
        for size in sizes:
            documents = [_annotated(text, size, labels) for text in texts]
            cases = CaseMaker(self._template, labels).cases(documents)
            strategy = self._opener.open("padellm" + GOLD)
            try:
                await strategy.decode(cases[0])
                before = strategy.totals()
                ms = [1000 * await strategy.decode(case) for case in cases[1:]]
                spent = strategy.totals() - before
            finally:
                await strategy.close()
            axis.append(Point(size, median(ms), spent.passes / len(ms), spent.computed / len(ms), 0.0))
        return axis

    async def in_flight(self, sizes: Sequence[int] = IN_FLIGHT) -> Axis:
        """Cost by documents in flight, each two windows long."""
        axis = []
        length = 2 * self._template.config.window.tokens
        for size in sizes:
            texts = self._of_length(length, count=max(self._repeats, 2 * size))
            axis.append(await self._documents(size, texts, self._labels, in_flight=size))
        return axis

    async def _documents(
        self, size: int, texts: Iterable[str], labels: Sequence[str], *, in_flight: int | None = None
    ) -> Point:
        """Extract from texts, the first of them to warm up."""
        first, *rest = (Document(text=text, labels=list(labels)) for text in texts)
        decoder = Decoder(self._opener.model)
        generator = InProcessGenerator(decoder)
        try:
            extractor = Extractor(generator, self._template)
            await extractor.extract(first)
            before = decoder.statistics()
            run = await serve_saturated(extractor, rest, in_flight=in_flight or 1)
            ms = run.p50_ms if in_flight is None else 1000 / run.documents_per_second
            return _point(size, ms, before, decoder.statistics(), len(rest))
        finally:
            await generator.close()

    def _of_length(self, tokens: int, count: int | None = None) -> list[str]:
        """Texts of a number of tokens; one more than the documents to measure.

        Their pieces are drawn: in order, texts would repeat and be answered from the KV cache.
        """
        pieces = iter(partial(Random(0).choice, self._texts), None)  # noqa: S311 - no secret
        return [_cut(self._template, pieces, tokens) for _ in range((count or self._repeats) + 1)]


def _point(size: int, ms: float, before: Statistics, after: Statistics, documents: int) -> Point:
    return Point(
        size,
        ms,
        (after.passes - before.passes) / documents,
        (after.tokens_computed - before.tokens_computed) / documents,
        after.slots_used / after.slots_bound,
    )


def _cut(template: PromptTemplate, texts: Iterator[str], tokens: int) -> str:
    """Texts joined up to a number of tokens, and cut there."""
    joined = ""
    ends: tuple[tuple[int, int], ...] = ()
    while len(ends) < tokens:
        # Texts are short: encoding the whole for each one would take longer than the measurement.
        joined = " ".join((joined, *islice(texts, 1 + (tokens - len(ends)) // 32))).strip()
        ends = template.encode_text(joined).offsets
    return joined[: ends[tokens - 1][1]]


def _annotated(text: str, mentions: int, labels: Sequence[str]) -> AnnotatedDocument:
    """A text whose first words are entities, labelled in turn."""
    words = islice(re.finditer(r"\S+", text), mentions)
    entities = tuple(
        GoldEntity(start=word.start(), end=word.end(), text=word[0], label=label)
        for word, label in zip(words, cycle(labels), strict=False)
    )
    return AnnotatedDocument(text=text, entities=entities)


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
        texts, labels = [document.text for document in bench_documents(None, _TEXTS)], []
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
    """The figures as JSON."""
    return {
        name: {
            "exponent": round(exponent(axis), 3),
            "points": [{key: round(value, 3) for key, value in asdict(point).items()} for point in axis],
        }
        for name, axis in axes.items()
    }


def show(axes: dict[str, Axis]) -> None:
    """Print a table of every axis on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    for name, axis in axes.items():
        table = terminal_table(AXES[name], "ms/document", "passes", "tokens read", "KV cache filled")
        for point in axis:
            filled = f"{100 * point.slots:.0f}%" if point.slots else "-"
            figures = (f"{point.ms:.2f}", f"{point.passes:.2f}", f"{point.read:.0f}", filled)
            table.add_row(str(point.size), *figures)
        console.print(table)
        console.print(f"grows as size to the {exponent(axis):.2f} in its upper half\n", style="dim")
