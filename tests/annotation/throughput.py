"""Ratio of ``padellm annotate`` to the bare engine, on the same texts in one process, alternating.

``python -m tests.annotation.throughput FILE`` prints seconds of wall clock and of CPU for each turn.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from stream.annotation.job import AnnotationTask, TextExtractor, annotate_texts
from stream.annotation.partial_output import PartialOutput
from stream.api import loaded
from stream.contract.messages import Document
from stream.corpora.formats import FORMATS

_IN_FLIGHT = 64


async def bare(extractor: TextExtractor, texts: Sequence[str]) -> None:
    """All texts through the extractor, with nothing read or written."""
    places = asyncio.Semaphore(_IN_FLIGHT)

    async def one(text: str) -> None:
        async with places:
            await extractor.extract(Document(text=text))

    await asyncio.gather(*map(one, texts))


async def annotated(extractor: TextExtractor, file: Path, out: Path) -> None:
    """The same texts from a file to a file."""
    task = AnnotationTask([file], in_flight=_IN_FLIGHT)
    with PartialOutput(out, FORMATS["jsonl"], task.question(), skip_bad=False) as output:
        await annotate_texts(task, extractor, output, lambda _: None)


async def timed(turn: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Seconds of wall clock and of this process's CPU that a turn takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    await turn()
    return time.perf_counter() - wall, time.process_time() - cpu


async def compare(file: Path, turns: int) -> None:
    """Take turns, and print each and the ratio of the medians."""
    texts = [one.text for one in AnnotationTask([file]).texts()]
    figures: dict[str, list[tuple[float, float]]] = {"bare": [], "annotate": []}
    async with loaded(None) as opened:
        extractor = opened.extractor
        await bare(extractor, texts[:50])
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.jsonl"
            turn = {
                "bare": lambda: bare(extractor, texts),
                "annotate": lambda: annotated(extractor, file, out),
            }
            for number in range(turns):  # now one first, now the other: what else the machine does may grow
                for name in list(figures) if number % 2 else reversed(figures):
                    figures[name].append(await timed(turn[name]))
    for name, found in figures.items():
        shown = ", ".join(f"{wall:.1f} s ({cpu:.1f} s CPU)" for wall, cpu in found)
        sys.stdout.write(f"{name}: {len(texts)} texts, {shown}\n")
    for at, unit in enumerate(("wall clock", "CPU")):
        medians = [statistics.median(each[at] for each in found) for found in figures.values()]
        sys.stdout.write(f"annotate / bare, {unit}: {medians[1] / medians[0]:.3f}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(compare(given.file, given.turns))
