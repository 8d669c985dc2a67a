"""Two model servers behind a worker: one killed under load, and their reuse of prefixes beside that of one.

``python -m tests.integration.several_servers`` measures both in earnest and prints a JSON object of each.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from stream.bundled import model_folder, sample_documents
from stream.contract.messages import Document
from stream.engine.decoder import EngineOptions
from stream.generation import Completion, Prompt
from stream.inference.in_process import InProcessGenerator
from stream.inference.servers import server_generator
from stream.local.reaper import Reaper
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import LogLevel, Settings
from stream.worker.logs import configure_logs
from tests.inference.scripted_triton import scripted_triton
from tests.integration.kafka_fixture import RunningKafka
from tests.integration.scripted_worker import ScriptedGenerator
from tests.integration.worker_fixture import REAL, Bench, bench_at, event_ids
from tests.tiny_model import write_tiny_checkpoint

_AT_ONCE = 16  # prompts that a paced server works on
_SECONDS = 0.1  # that each takes it
_WINDOW = 1.0  # seconds in which a rate is counted


@dataclass(frozen=True, slots=True)
class Kill:
    """Outcome of a load under which one of two servers was killed.

    Attributes:
        documents: Sent.
        lost: Without an outcome.
        dead_letters: Outcomes that are no event.
        repeats: Events beyond the first of a document.
        rate_of_two: Events a second before.
        rate_of_rest: Events a second from ``recovered_after`` on.
        recovered_after: Seconds from the kill until the rest did nine tenths of one server's work.
    """

    documents: int
    lost: int
    dead_letters: int
    repeats: int
    rate_of_two: float
    rate_of_rest: float
    recovered_after: float


class PacedModel:
    """Script of a server that works on so many prompts at once, and takes its time for each."""

    def __init__(self, model: Path) -> None:
        self._generator = ScriptedGenerator(model)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self.answered = 0

    async def answer(self, prompt: Prompt) -> Completion:
        """Answer when its turn and its time have come."""
        self.answered += 1
        async with self._slots:
            await asyncio.sleep(_SECONDS)
        return Completion((), ()) if len(prompt.ids) == 1 else await self._generator.generate(prompt)


async def kill_under_load(bench: Bench, documents: int) -> Kill:
    """Send documents through two paced servers, and kill one after a third of them."""
    model = bench.settings.model
    assert model is not None
    async with AsyncExitStack() as stack:
        models = [PacedModel(model) for _ in "ab"]
        tritons = [await stack.enter_async_context(scripted_triton(each.answer)) for each in models]
        addresses = ",".join(triton.url for triton in tritons)
        worker = bench.start_worker(REAL, triton_url=addresses, max_in_flight=48)
        await worker.is_ready()
        await bench.produce(*(f"Ada{number} wrote" for number in range(documents)))
        await bench.outcomes(lambda records: len(records) >= documents // 3)
        killed = time.time()
        await tritons[0].die()
        records = await bench.outcomes(lambda records: len(records) >= documents)
        assert await worker.metric(f'padellm_server_up{{server="{tritons[0].url}"}}') == 0
        assert await worker.metric(f'padellm_server_up{{server="{tritons[1].url}"}}') == 1
        assert (await worker.page("/readyz"))[0] == 200
    times = sorted(record.timestamp / 1000 for record in records)
    before = [each for each in times if each < killed]
    rate_of_two = (len(before) - 1) / (before[-1] - before[0])
    # A worker that begins late answers what has gathered in a burst: no server is faster than its pace.
    pace = _AT_ONCE / _SECONDS * documents / sum(each.answered for each in models)
    recovered = _recovered(times, killed, 0.9 * min(rate_of_two / 2, pace))
    rest = [each for each in times if each > recovered]
    ids = event_ids(records, bench.settings.entities_topic)
    events = sum(record.topic == bench.settings.entities_topic for record in records)
    return Kill(
        documents=documents,
        lost=len({f"doc-{number}" for number in range(documents)} - set(ids)),
        dead_letters=len(records) - events,
        repeats=events - len(ids),
        rate_of_two=round(rate_of_two, 1),
        rate_of_rest=round((len(rest) - 1) / (rest[-1] - rest[0]), 1),
        recovered_after=round(recovered - killed, 2),
    )


def _recovered(times: Sequence[float], killed: float, rate: float) -> float:
    """Time after a kill from which a whole window has this rate."""
    step = 0.05
    last = times[-1] - _WINDOW
    for number in range(int((last - killed) / step)):
        began = killed + number * step
        if sum(began <= each < began + _WINDOW for each in times) >= rate * _WINDOW:
            return began
    raise AssertionError(f"never {rate:.1f} events a second after the kill")


async def reuse(servers: int, documents: Sequence[Document], *, in_flight: int = 32) -> float:
    """Share of prompt tokens that so many servers of the bundled model found in their caches, in percent."""
    folder = model_folder(None)
    engines = [InProcessGenerator.load(folder, EngineOptions(threads=1)) for _ in range(servers)]
    prompt_tokens = 0
    async with AsyncExitStack() as stack:

        async def serve(engine: InProcessGenerator) -> str:
            async def answer(prompt: Prompt) -> Completion:
                nonlocal prompt_tokens
                prompt_tokens += len(prompt.ids)
                return await engine.generate(prompt)

            return (await stack.enter_async_context(scripted_triton(answer))).url

        settings = Settings(triton_url=",".join([await serve(engine) for engine in engines]))
        client = server_generator(settings)
        extractor = Extractor(client, PromptTemplate.load(folder))
        places = asyncio.Semaphore(in_flight)

        async def extract(document: Document) -> None:
            async with places:
                await extractor.extract(document)

        await asyncio.gather(*map(extract, documents))
        await client.close()
    reused = sum(engine.decoder.statistics().tokens_reused for engine in engines)
    for engine in engines:
        await engine.close()
    return 100 * reused / prompt_tokens


async def _measure(asked: argparse.Namespace, kafka: RunningKafka, folder: Path) -> None:
    model = write_tiny_checkpoint(folder / "tiny")
    async for bench in bench_at(kafka.bootstrap, model, folder):
        _show(asdict(await kill_under_load(bench, asked.documents)))
    documents = sample_texts()
    one, two = await reuse(1, documents), await reuse(2, documents)
    _show({"reuse_of_one": round(one, 1), "reuse_of_two": round(two, 1), "ratio": round(two / one, 3)})


def _show(figures: dict[str, float]) -> None:
    sys.stdout.write(f"{json.dumps(figures)}\n")
    sys.stdout.flush()


def sample_texts() -> list[Document]:
    """The bundled sample documents."""
    lines = sample_documents().read_text(encoding="utf-8").splitlines()
    return [Document(id=str(number), text=json.loads(line)["text"]) for number, line in enumerate(lines)]


def main() -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=2000)
    asked = parser.parse_args()
    configure_logs(LogLevel.WARNING)
    with tempfile.TemporaryDirectory() as name, Reaper() as reaper:
        kafka = RunningKafka(Path(name) / "kafka", reaper)
        kafka.start()
        try:
            asyncio.run(_measure(asked, kafka, Path(name)))
        finally:
            kafka.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
