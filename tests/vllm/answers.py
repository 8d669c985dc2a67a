"""What a server of vLLM is held against: the answers of our engine."""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from stream.api import open_model
from stream.bundled import model_folder, sample_documents
from stream.engine.decoder import Decoder, EngineOptions
from stream.generation import Completion, Prompt
from stream.ner.template import PromptTemplate
from tests.integration.worker_fixture import REAL, bench_at

PROMPTS = 300
TOLERANCE = 1e-3  # of a log-probability in float32

Asked = Sequence[tuple[Prompt, Completion]]


def ask_engine(template: PromptTemplate) -> list[tuple[Prompt, Completion]]:
    """Count and mention prompts of the first sample documents, each with our engine's answer."""
    decoder = Decoder.load(model_folder(None), EngineOptions(threads=1))
    try:
        return list(islice(_asked(decoder, template), PROMPTS))
    finally:
        decoder.close()


def _asked(decoder: Decoder, template: PromptTemplate) -> Iterator[tuple[Prompt, Completion]]:
    labels = [template.encode_text(template.label_text(name)).ids for name in template.config.default_labels]
    for document in _documents():
        prefix = template.prefix_ids(template.encode_text(document["text"]).ids)
        counting = [template.count_prompt(prefix, label) for label in labels]
        counts = [future.result() for future in decoder.submit_many(counting)]
        yield from zip(counting, counts, strict=True)
        mentions = [
            template.mention_prompt(prompt, count, k)
            for prompt, answer in zip(counting, counts, strict=True)
            for count in [template.parse_count(answer.ids) or 0]
            for k in range(1, count + 1)
        ]
        answers = [future.result() for future in decoder.submit_many(mentions)]
        yield from zip(mentions, answers, strict=True)


def assert_same(answers: Sequence[Completion], asked: Asked) -> None:
    """All prompts have our engine's tokens, with log-probabilities within a thousandth."""
    same = sum(answer.ids == ours.ids for answer, (_, ours) in zip(answers, asked, strict=True))
    worst = max(
        abs(one - other)
        for answer, (_, ours) in zip(answers, asked, strict=True)
        for one, other in zip(answer.log_probs, ours.log_probs, strict=False)
    )
    print(
        f"\n{same} of {len(asked)} answers have our tokens; log-probabilities differ by {worst:.1e} at most"
    )
    assert same == len(asked) == PROMPTS
    assert worst < TOLERANCE


async def streamed(bootstrap: str, folder: Path, **settings: Any) -> list[dict[str, Any]]:
    """The events of the 240 sample documents, through Kafka and a worker with our engine's entities.

    Args:
        bootstrap: Of Kafka.
        folder: For the worker's log.
        settings: Of the worker.
    """
    documents = _documents()
    with open_model() as model:
        expected = [
            [(entity.label, entity.start, entity.end) for entity in extraction.entities]
            for extraction in model.extract_many([document["text"] for document in documents])
        ]
    async for bench in bench_at(bootstrap, model_folder(None), folder):
        worker = bench.start_worker(REAL, **settings)
        await worker.is_ready()
        began = time.monotonic()
        await bench.produce(*(document["text"] for document in documents))
        records = await bench.outcomes(lambda records: len(records) >= len(documents), patience=600)
        took = time.monotonic() - began
        worker.terminate()
        events = [
            json.loads(record.value) for record in records if record.topic == bench.settings.entities_topic
        ]
    found = {
        int(event["document_id"].removeprefix("doc-")): [
            (entity["label"], entity["start"], entity["end"]) for entity in event["entities"]
        ]
        for event in events
    }
    entities = sum(map(len, found.values()))
    print(f"\n{len(events)} events, {entities} entities (ours: {sum(map(len, expected))}), {took:.0f} s")
    assert [found[number] for number in range(len(documents))] == expected
    assert len(records) == len(documents)
    return events


def _documents() -> list[dict[str, str]]:
    return [json.loads(line) for line in sample_documents().read_text(encoding="utf-8").splitlines()]
