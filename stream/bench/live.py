"""``padellm bench live``: documents through the Triton server that the settings name.

Two methods decode the same documents: PaDeLLM's two stages, and AutoReg_Struct's list of all entities. Each
answer has the length of the gold one and no id ends it, so the methods compare whatever the model would say.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stream.aio import all_of
from stream.bench.cases import Case, CaseMaker, Forced
from stream.bench.decode import samples_as_read
from stream.bench.load import Serving
from stream.bundled import model_folder
from stream.corpora.document import AnnotatedDocument, label_inventory
from stream.corpora.jsonl import read_documents
from stream.errors import ConfigurationError
from stream.generation import Generator, Prompt
from stream.inference.contract import NO_END
from stream.inference.grpc_generator import tls_of_servers
from stream.inference.triton import TritonGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings

_WARM_UP = 32
_DEADLINE = 300.0  # seconds: a list of entities is long, and the queue may be


@dataclass(frozen=True, slots=True)
class LiveRun:
    """Figures of one method with a number of documents in flight."""

    method: str
    in_flight: int
    serving: Serving


async def run(data: Path | None, *, limit: int, in_flight: Sequence[int]) -> list[LiveRun]:
    """Measure each method with each number of documents in flight.

    Args:
        data: Annotated documents; None takes the samples, with the served model's answers for gold.
        limit: Documents of a run, at most.
        in_flight: Numbers of documents in flight.

    Raises:
        ConfigurationError: The data cannot be read, or holds no entities.
        InferenceError: The server did not answer.
    """
    settings = Settings()
    template = PromptTemplate.load(model_folder(settings.model))
    most = max(in_flight)
    generator = TritonGenerator(
        settings.triton_url,
        tls=tls_of_servers(settings),
        in_flight=max(settings.triton_in_flight, most * 32),
        call_deadline=_DEADLINE,
    )
    try:
        if data is None:
            documents = await samples_as_read(Extractor(generator, template), limit)
        else:
            documents = list(islice(read_documents(data), limit))
        labels = label_inventory(documents)
        if not labels:
            raise ConfigurationError(f"{data or 'the samples'}: no entities to measure with")
        maker = CaseMaker(template, labels)
        turns = count()
        runs: list[LiveRun] = []
        for number in in_flight:
            for method, decode in METHODS.items():
                await _serve(
                    decode, generator, maker.cases(_unlike(documents[:_WARM_UP], next(turns))), number
                )
                cases = maker.cases(_unlike(documents, next(turns)))
                runs.append(LiveRun(method, number, await _serve(decode, generator, cases, number)))
        return runs
    finally:
        await generator.close()


def show(runs: Sequence[LiveRun]) -> None:
    """Print a table."""
    table = Table("method", "in flight", "documents/s", "p50 ms", "p99 ms")
    for each in runs:
        figures = each.serving.documents_per_second, each.serving.p50_ms, each.serving.p99_ms
        table.add_row(each.method, str(each.in_flight), *(f"{figure:.1f}" for figure in figures))
    Console().print(table)


def summary(runs: Sequence[LiveRun]) -> list[dict[str, Any]]:
    """The figures as JSON."""
    return [{"method": each.method, "in_flight": each.in_flight, **asdict(each.serving)} for each in runs]


async def _serve(decode: "_Decode", generator: Generator, cases: Sequence[Case], in_flight: int) -> Serving:
    """Decode all cases, a fixed number at any time; a case arrives when its turn comes."""
    queue = iter(cases)
    latencies: list[float] = []

    async def serve() -> None:
        for case in queue:
            arrived = time.perf_counter()
            await decode(generator, case)
            latencies.append(time.perf_counter() - arrived)
            await asyncio.sleep(0)

    began = time.perf_counter()
    await all_of(serve() for _ in range(in_flight))
    return Serving.of(latencies, time.perf_counter() - began)


async def _padellm(generator: Generator, case: Case) -> None:
    """All counts at once, then all mentions at once."""
    await all_of(generator.generate(_of_length(label.count)) for label in case.labels)
    await all_of(
        generator.generate(_of_length(mention)) for label in case.labels for mention in label.mentions
    )


async def _autoreg_struct(generator: Generator, case: Case) -> None:
    await generator.generate(_of_length(case.struct))


_Decode = Callable[[Generator, Case], Awaitable[None]]
METHODS: dict[str, _Decode] = {"padellm": _padellm, "autoreg_struct": _autoreg_struct}


def _of_length(forced: Forced) -> Prompt:
    return Prompt(forced.prompt.ids, forced.steps, NO_END)


def _unlike(documents: Sequence[AnnotatedDocument], turn: int) -> list[AnnotatedDocument]:
    """The documents, each behind numbers of its own, so that no text comes from the cache of another turn."""
    return [_behind(f"{turn} {at} ", document) for at, document in enumerate(documents)]


def _behind(words: str, document: AnnotatedDocument) -> AnnotatedDocument:
    entities = [
        entity.model_copy(update={"start": entity.start + len(words), "end": entity.end + len(words)})
        for entity in document.entities
    ]
    return document.model_copy(update={"text": words + document.text, "entities": entities})
