"""``padellm bench models``: what models cost on this machine, in float32 and in 8-bit integers."""

import asyncio
import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from stream.api import loaded
from stream.bench.load import bench_documents, serve_saturated, unlike_copies
from stream.evaluation.tables import terminal_table

_IN_FLIGHT = 128
_WARM_UP = 4
_PRODUCTS = {False: "float32", True: "int8"}

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Cost of one model with one kind of matrix products.

    Attributes:
        model: Name and version.
        products: ``float32`` or ``int8``.
        ms: Mean milliseconds of a document, one at a time.
        documents_per_second: With 128 documents in flight.
        memory_mb: Peak resident memory in MiB of a process that loads the model from a built graph and
            answers, Python and all libraries included.
    """

    model: str
    products: str
    ms: float
    documents_per_second: float
    memory_mb: float


def run(models: Sequence[Path | None], documents: str | None, *, limit: int) -> Iterator[ModelCost]:
    """Measure models one after the other, each in fresh processes.

    Args:
        models: Folders or names; None is the settings' one.
        documents: Annotated or not; None takes the samples.
        limit: Documents of each measurement.

    Raises:
        ConfigurationError: The documents cannot be read.
        CheckpointError: A folder holds no model that can be served.
    """
    bench_documents(documents, 1)
    for model, int8 in product(models, (False, True)):
        _in_fresh_process(_build_graph, model, int8)
        yield _in_fresh_process(_measure, model, int8, documents, limit)


def _in_fresh_process(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call a function where nothing else has taken memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _build_graph(model: Path | None, int8: bool) -> None:  # noqa: FBT001 - called by position, in a process
    """Have the graph in the cache; building it takes memory that serving does not."""

    async def build() -> None:
        async with loaded(model, int8=int8):
            pass

    asyncio.run(build())


def _measure(model: Path | None, int8: bool, file: str | None, limit: int) -> ModelCost:  # noqa: FBT001
    async def measure() -> ModelCost:
        runs = unlike_copies(bench_documents(file, limit))
        async with loaded(model, int8=int8) as opened:
            await serve_saturated(opened.extractor, next(runs)[:_WARM_UP], in_flight=1)
            alone = await serve_saturated(opened.extractor, next(runs), in_flight=1)
            many = await serve_saturated(opened.extractor, next(runs), in_flight=_IN_FLIGHT)
            config = opened.template.config
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return ModelCost(
                model=f"{config.name} {config.version}",
                products=_PRODUCTS[int8],
                ms=1000 / alone.documents_per_second,
                documents_per_second=many.documents_per_second,
                # Linux counts in KiB, macOS in bytes.
                memory_mb=peak / 1024 if sys.platform == "linux" else peak / 1024**2,
            )

    return asyncio.run(measure())


def summary(costs: Sequence[ModelCost]) -> list[dict[str, Any]]:
    """The figures as JSON, rounded."""
    return [
        {name: round(value, 2) if isinstance(value, float) else value for name, value in asdict(each).items()}
        for each in costs
    ]


def show(costs: Sequence[ModelCost]) -> None:
    """Print a table on stdout."""
    table = terminal_table("Model", "products", "ms a document", "documents/s", "peak memory, MiB")
    for each in costs:
        figures = (f"{each.ms:.1f}", f"{each.documents_per_second:.1f}", f"{each.memory_mb:.0f}")
        table.add_row(each.model, each.products, *figures)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
