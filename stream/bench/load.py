"""Documents a second, and how long a document takes, at saturation or at a fixed rate of arrival."""

import asyncio
import itertools
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stream.aio import all_of
from stream.contract.messages import Document
from stream.ner.extractor import Extractor


@dataclass(frozen=True, slots=True)
class Serving:
    """Figures of one run.

    Attributes:
        documents_per_second: Over the whole run.
        p50_ms: Half of the documents took no longer, from arrival to result.
        p99_ms: 99 in 100 took no longer.
    """

    documents_per_second: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, latencies: Sequence[float], seconds: float) -> "Serving":
        """From the seconds that each document took and the seconds of the whole run."""
        p50, p99 = np.percentile(latencies, (50, 99)) * 1000
        return cls(len(latencies) / seconds, float(p50), float(p99))

    @classmethod
    def median(cls, runs: Sequence["Serving"]) -> "Serving":
        """The middle of several runs, each figure by itself."""
        figures = [(run.documents_per_second, run.p50_ms, run.p99_ms) for run in runs]
        return cls(*map(float, np.median(figures, axis=0)))


async def serve_saturated(extractor: Extractor, documents: Sequence[Document], *, in_flight: int) -> Serving:
    """Extract from all documents, so many of them at any time; a document arrives when its turn comes.

    Raises:
        stream.errors.InferenceError: The model did not answer.
    """
    queue = iter(documents)
    latencies: list[float] = []

    async def serve() -> None:
        for document in queue:
            arrived = time.perf_counter()
            await extractor.extract(document)
            latencies.append(time.perf_counter() - arrived)
            await asyncio.sleep(0)

    began = time.perf_counter()
    await all_of(serve() for _ in range(in_flight))
    return Serving.of(latencies, time.perf_counter() - began)


async def serve_at_rate(extractor: Extractor, documents: Sequence[Document], *, rate: float) -> Serving:
    """Extract from documents that arrive evenly, whether or not earlier ones are done.

    Args:
        extractor: What serves.
        documents: At least one.
        rate: Documents a second.

    Raises:
        stream.errors.InferenceError: The model did not answer.
    """
    began = time.perf_counter()

    async def serve(document: Document, due: float) -> float:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await extractor.extract(document)
        return time.perf_counter() - due

    latencies = await all_of(serve(document, began + at / rate) for at, document in enumerate(documents))
    return Serving.of(latencies, time.perf_counter() - began)


def unlike_copies(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """The documents again and again, each text behind a number of its own.

    No engine can then answer a later run from what it kept of an earlier one, and all runs are alike. Nor do
    the texts of a run begin alike, as they would behind the number of the run.
    """
    for run in itertools.count():
        yield [
            document.model_copy(update={"text": f"{_number(run, at)} {document.text}"})
            for at, document in enumerate(documents)
        ]


def _number(run: int, at: int) -> int:
    return zlib.crc32(f"{run} {at}".encode()) % 10_000
