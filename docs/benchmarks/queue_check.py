# ruff: noqa: INP001, T201 - a script beside its figures
"""Measures the engine as a queue on a machine that other programs share, for the model of `padellm plan`.

The clock is the processor time of this process while a document is in flight, and the wall's while none is:
what other programs take of the core counts neither for a rate nor for a time. So the engine must have one
thread.

    export PADELLM_ENGINE_THREADS=1
    python docs/benchmarks/queue_check.py closed 16 40 1    # documents/s with 16 in flight, of 40; seed 1
    python docs/benchmarks/queue_check.py open 20 140 1     # mean ms of 140 that arrive at random, 20/s
"""

import asyncio
import random
import sys
import time
from collections.abc import Sequence

import numpy as np

from stream.aio import loop_factory
from stream.bench.load import bench_documents, unlike_copies
from stream.bundled import model_folder
from stream.contract.messages import Document
from stream.engine.decoder import EngineOptions
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings

# The shortest samples: a run is over in a minute on a crowded machine.
_SAMPLES, _SHORTEST, _WARM_UP = 240, 140, 8
_LOOK_SECONDS = 0.002


class Clock:
    """Processor time while something is in flight, else the wall's."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._now = 0.0
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def now(self) -> float:
        """Seconds so far."""
        wall, processor = time.perf_counter(), time.process_time()
        self._now += processor - self._processor if self.in_flight else wall - self._wall
        self._wall, self._processor = wall, processor
        return self._now


class SharedMachineRun:
    """Documents through the engine by such a clock."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self._clock = Clock()

    async def closed(self, documents: Sequence[Document], level: int) -> float:
        """Documents a second with a fixed number in flight."""
        queue, began = iter(documents), self._clock.now()

        async def one() -> None:
            for document in queue:
                await self._served(document)

        await asyncio.gather(*(one() for _ in range(level)))
        return len(documents) / (self._clock.now() - began)

    async def open(self, documents: Sequence[Document], rate: float, seed: int) -> float:
        """Mean milliseconds from arrival to result, with arrivals at random times."""
        span = len(documents) / rate
        due = self._clock.now() + np.sort(np.random.default_rng(seed).uniform(0, span, len(documents)))
        running = []
        for document, at in zip(documents, due.tolist(), strict=True):
            while self._clock.now() < at:  # noqa: ASYNC110 - the clock is no timer of the loop
                await asyncio.sleep(_LOOK_SECONDS)
            running.append(asyncio.create_task(self._served(document)))
        return 1000 * float(np.mean(np.array(await asyncio.gather(*running)) - due))

    async def _served(self, document: Document) -> float:
        """Time of the clock when the document has its result."""
        self._clock.now()
        self._clock.in_flight += 1
        await self._extractor.extract(document)
        done = self._clock.now()
        self._clock.in_flight -= 1
        return done


async def main(way: str, load: float, documents: int, seed: int) -> None:
    """Print one figure."""
    settings = Settings()
    folder = model_folder(settings.model)
    generator = InProcessGenerator.load(folder, EngineOptions.from_settings(settings))
    run = SharedMachineRun(Extractor(generator, PromptTemplate.load(folder)))
    samples = sorted(bench_documents(None, _SAMPLES), key=lambda each: len(each.text))[:_SHORTEST]
    random.Random(seed).shuffle(samples)  # noqa: S311 - an order
    copies = unlike_copies(samples[:documents])
    await run.closed(next(copies)[:_WARM_UP], _WARM_UP)
    if way == "closed":
        print(f"{load:g} in flight: {await run.closed(next(copies), int(load)):.2f} documents/s")
    else:
        print(f"{load:g}/s: {await run.open(next(copies), load, seed):.1f} ms in the mean")
    await generator.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
