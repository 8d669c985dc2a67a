"""The worker over two model servers, on a real broker; ``several_servers`` measures the same in earnest."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from stream.fingerprint import checkpoint_sha256
from stream.generation import Completion, Prompt
from stream.kafka.topics import ensure_topics
from stream.ner.template import PromptTemplate
from tests.inference.scripted_triton import scripted_triton
from tests.integration.scripted_worker import ScriptedGenerator
from tests.integration.several_servers import kill_under_load, reuse, sample_texts
from tests.integration.worker_fixture import REAL, Bench, event_ids

pytestmark = pytest.mark.integration


async def test_one_of_two_servers_killed_under_load(bench: Bench):
    """Nothing is lost or dead-lettered, and within 5 s the other server does all that one can."""
    killed = await kill_under_load(bench, 180)
    assert (killed.lost, killed.dead_letters) == (0, 0)
    assert killed.recovered_after < 5


async def test_one_of_two_real_tritons_killed_under_load(
    bench: Bench, triton: Any, private_triton: Any, tiny_checkpoint: Path
):
    """Every document has its event, which names the checkpoint, and the worker stays ready."""
    addresses = f"{private_triton.url},{triton.url}"
    worker = bench.start_worker(REAL, triton_url=addresses, model=tiny_checkpoint, max_in_flight=8)
    await worker.is_ready()
    await bench.produce(*(f"Ada{n} wrote the first program." for n in range(150)))
    await bench.outcomes(lambda records: len(records) >= 20)
    await asyncio.to_thread(private_triton.kill)
    records = await bench.outcomes(lambda records: len(records) >= 150)
    ids = event_ids(records, bench.settings.entities_topic)
    assert set(ids) == {f"doc-{number}" for number in range(150)}
    checkpoints = {json.loads(record.value)["model"]["checkpoint"] for record in records}
    assert checkpoints == {checkpoint_sha256(tiny_checkpoint)}
    assert (await worker.page("/readyz"))[0] == 200
    assert await worker.metric(f'padellm_server_up{{server="{private_triton.url}"}}') == 0


async def test_two_servers_reuse_prefixes_as_one_does():
    """Two servers find at least nine tenths as many prompt tokens in their caches as one server does."""
    documents = sample_texts()[:10]
    assert await reuse(2, documents) >= 0.9 * await reuse(1, documents)


async def test_shadow_writes_what_it_finds_otherwise(bench: Bench):
    """Every document has its event, and a difference beside it that names both models' entities."""
    model = bench.settings.model
    generator = ScriptedGenerator(model)
    nothing = PromptTemplate.load(model).count_answer_ids(0)

    async def answer(prompt: Prompt) -> Completion:
        return Completion((), ()) if len(prompt.ids) == 1 else await generator.generate(prompt)

    async def find_nothing(_prompt: Prompt) -> Completion:
        return Completion(nothing, (-0.01,) * len(nothing))

    async with scripted_triton(answer) as first, scripted_triton(find_nothing) as second:
        shadow = {
            "shadow_triton_url": second.url,
            "shadow_share": 1.0,
            "shadow_topic": f"{bench.settings.group}-shadow",
        }
        await ensure_topics(bench.settings.model_copy(update=shadow))
        bench.start_worker(REAL, triton_url=first.url, max_in_flight=1, **shadow)
        await bench.produce("Ada wrote", "Eva read")
        topics = (bench.settings.entities_topic, shadow["shadow_topic"])
        records = await bench.outcomes(lambda records: len(records) >= 4, topics=topics)
    values = {topic: [json.loads(each.value) for each in records if each.topic == topic] for topic in topics}
    differences = {each["document_id"]: each for each in values[shadow["shadow_topic"]]}
    for event in values[bench.settings.entities_topic]:
        difference = differences[event["document_id"]]
        assert difference["event_id"] == event["event_id"]
        assert difference["missing"] == event["entities"]
        assert difference["added"] == []
