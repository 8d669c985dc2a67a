"""A visitor's text through the engine in this process, told pass by pass."""

import asyncio

from stream.contract.messages import Document
from stream.engine.decoder import Decoder, EngineOptions
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from stream.worker.page.text_trial import TextTrial
from tests.tiny_model import write_tiny_checkpoint

TEXT = "Ann met Bo in Rome."


async def test_trial_tells_the_passes_of_its_own_prompts(tmp_path):
    """Beside a stream of other documents a trial tells the passes of its own prompts alone."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    template = PromptTemplate.load(folder)
    decoder = Decoder.load(folder, EngineOptions(threads=1, graph_cache=tmp_path / "graphs"))
    generator = InProcessGenerator(decoder)
    trial = TextTrial(Settings(), template, generator)
    try:
        others = asyncio.gather(
            *(
                Extractor(generator, template).extract(Document(text=f"Ed saw {name}.", labels=["LOC"]))
                for name in ("Oslo", "Bonn", "Kyiv")
            )
        )
        told = await trial.tell({"text": TEXT, "labels": ["PER", "ORG"]})
        await others
        after = decoder.statistics().passes
        await Extractor(generator, template).extract(Document(text=TEXT))
    finally:
        await generator.close()
    passes = told["passes"]
    assert 1 <= len(passes) <= after
    questions = {answer["question"] for one in passes for answer in one["answering"]}
    assert any("PER" in question or "person" in question for question in questions)
    assert not any("LOC" in question or "location" in question for question in questions)
    assert all(sum(one["milliseconds"].values()) > 0 for one in passes)
    assert all(one["prefilled"] == () for one in passes)


async def test_trial_leaves_no_tracing_behind(tmp_path):
    """After a trial the engine runs as before it."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    decoder = Decoder.load(folder, EngineOptions(threads=1, graph_cache=tmp_path / "graphs"))
    generator = InProcessGenerator(decoder)
    untraced = decoder._accept
    try:
        await TextTrial(Settings(), PromptTemplate.load(folder), generator).tell({"text": TEXT})
        assert decoder._accept is untraced
    finally:
        await generator.close()
