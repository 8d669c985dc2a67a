"""The context that goes to Triton with each prompt, over real gRPC."""

from collections import Counter

import pytest

from stream import tracing
from stream.bench.instant_worker import InstantGenerator
from stream.contract.messages import Document
from stream.inference.triton import TritonGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from tests.inference.scripted_triton import scripted_triton
from tests.otlp_receiver import receiving
from tests.tiny_model import write_tiny_checkpoint

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
LABELS = ["person", "place", "date"]


@pytest.fixture
async def triton_and_extractor(tmp_path):
    """A server that answers each count with one mention, and an extractor that asks it."""
    template = PromptTemplate.load(write_tiny_checkpoint(tmp_path))
    async with scripted_triton(InstantGenerator(template).generate) as triton:
        generator = TritonGenerator(triton.url)
        yield triton, Extractor(generator, template)
        await generator.close()


async def test_triton_gets_the_context_of_the_round(triton_and_extractor):
    """Count prompts carry the context of the count round, and mention prompts that of theirs."""
    triton, extractor = triton_and_extractor
    with receiving() as receiver:
        tracing.start(receiver.url, "1")
        try:
            with tracing.document_span("process", {"traceparent": f"00-{TRACE}-{PARENT}-01"}, {}):
                await extractor.extract(Document(text="Ann met Bo in Rome.", labels=LABELS))
        finally:
            tracing.stop()
    spans = {one.name: one for one in receiver.spans}
    rounds = {f"00-{TRACE}-{spans[name].span}-01": name for name in ("count", "mention")}
    asked = Counter(rounds[metadata["traceparent"]] for metadata in triton.metadata)
    assert asked["count"] == len(LABELS)
    assert asked["mention"] == len(triton.metadata) - len(LABELS) > 0
    assert spans["count"].parent == spans["mention"].parent == spans["process"].span
    assert spans["count"].begin <= spans["mention"].begin <= spans["mention"].end <= spans["process"].end


async def test_triton_gets_no_context_without_traces(triton_and_extractor):
    """While traces are off no metadata go along."""
    triton, extractor = triton_and_extractor
    await extractor.extract(Document(text="Ann met Bo in Rome.", labels=LABELS))
    assert triton.metadata
    assert not any("traceparent" in metadata for metadata in triton.metadata)
