"""Load for benchmarks: documents, and their throughput and latency at saturation or at a fixed rate."""

import asyncio
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from stream.aio import all_of
from stream.bundled import sample_documents
from stream.contract.messages import Document
from stream.corpora.jsonl import read_documents
from stream.errors import ConfigurationError
from stream.kafka.records import read_records
from stream.ner.extractor import Extractor


def bench_documents(file: str | None, limit: int) -> list[Document]:
    """The first documents of a file; of annotated ones the text is taken.

    Args:
        file: JSONL or plain text, gzip or not; None: the samples.
        limit: Most documents, at least 1.

    Raises:
        ConfigurationError: The file cannot be read or holds no document.
    """
    path = file or str(sample_documents())
    try:
        records = islice(read_records(path), limit)
        documents = [Document.model_validate_json(record.value) for record in records]
    except ConfigurationError as error:
        try:
            annotated = islice(read_documents(Path(path)), limit)
            documents = [Document(id=each.id, text=each.text) for each in annotated]
        except ConfigurationError:
            raise error from None
    if not documents:
        raise ConfigurationError(f"{path} holds no document")
    return documents


@dataclass(frozen=True, slots=True)
class Serving:
    """Figures of one run.

    Attributes:
        documents_per_second: Over the whole run.
        p50_ms: Median time of a document, from arrival to result.
        p99_ms: 99th percentile.
        p999_ms: 99.9th percentile.
    """

    documents_per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float

    @classmethod
    def of(cls, latencies: Sequence[float], seconds: float) -> "Serving":
        """From the seconds of each document and of the whole run."""
        percentiles = np.percentile(latencies, (50, 99, 99.9)) * 1000
        return cls(len(latencies) / seconds, *map(float, percentiles))

    @classmethod
    def median(cls, runs: Sequence["Serving"]) -> "Serving":
        """The middle of several runs, each figure by itself."""
        return cls(*map(float, np.median([astuple(run) for run in runs], axis=0)))


async def serve_saturated(extractor: Extractor, documents: Sequence[Document], *, in_flight: int) -> Serving:
    """Extract from all documents, a fixed number at any time; a document arrives when its turn comes.

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

    A document's time begins when it is due, not when it is sent: what waits behind a slow one counts.

    Args:
        extractor: What serves.
        documents: At least one.
        rate: Documents a second.

    Raises:
        stream.errors.InferenceError: The model did not answer.
    """
    began = time.perf_counter()
    latencies = await all_of(
        _served_when_due(extractor, document, began + at / rate) for at, document in enumerate(documents)
    )
    return Serving.of(latencies, time.perf_counter() - began)


async def serve_unevenly(
    extractor: Extractor, documents: Sequence[Document], *, rate: float, seed: int
) -> list[float]:
    """The same with arrivals at random times, as those of many independent senders (a Poisson process).

    Args:
        extractor: What serves.
        documents: At least one.
        rate: Documents a second, in the mean.
        seed: Of the times.

    Returns:
        Seconds of each document, from its arrival to its result.

    Raises:
        stream.errors.InferenceError: The model did not answer.
    """
    # Given their number, the times of a Poisson process are spread evenly over its time.
    due = np.sort(np.random.default_rng(seed).uniform(0, len(documents) / rate, len(documents)))
    began = time.perf_counter()
    return await all_of(
        _served_when_due(extractor, document, began + after)
        for document, after in zip(documents, due.tolist(), strict=True)
    )


async def _served_when_due(extractor: Extractor, document: Document, due: float) -> float:
    """Seconds from when a document is due to its result."""
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await extractor.extract(document)
    return time.perf_counter() - due


def unlike_copies(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """The documents again and again, each text behind a number of its own.

    So no engine answers a later run from the cache of an earlier one, and all runs cost the same. Nor do the
    texts of one run share a prefix, as they would behind the number of the run.
    """
    for run in count():
        yield [
            document.model_copy(update={"text": f"{_number(run, at)} {document.text}"})
            for at, document in enumerate(documents)
        ]


def _number(run: int, at: int) -> int:
    return zlib.crc32(f"{run} {at}".encode()) % 10_000
