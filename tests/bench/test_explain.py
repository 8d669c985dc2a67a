"""A decode told pass by pass."""

import pytest

from stream.bench.explain import explain, fixings
from stream.contract.messages import Document
from stream.engine.decoder import Decoder
from stream.engine.strategy import Strategy
from stream.generation import Prompt
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from tests.tiny_model import write_tiny_checkpoint


@pytest.fixture
async def told(tmp_path):
    """The passes of a tiny model's decode, and what the engine counted."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    template, passes = PromptTemplate.load(folder), []
    decoder = Decoder.load(folder, threads=1, graph_cache=tmp_path / "graphs", on_pass=passes.append)
    generator = InProcessGenerator(decoder)
    try:
        await Extractor(generator, template).extract(
            Document(text="Ann met Bo in Rome.", labels=["PER", "LOC"])
        )
        return explain(passes, template), decoder.statistics()
    finally:
        await generator.close()


def test_explanation_accounts_for_every_pass_and_token(told):
    """Passes and tokens told are those the engine counted, drafts included."""
    steps, counted = told
    assert [step.number for step in steps] == list(range(1, counted.passes + 1))
    assert sum(step.tokens for step in steps) == counted.tokens_read
    assert sum(step.drafted for step in steps) == sum(counted.tokens_drafted.values())


async def test_explanation_tells_when_each_token_was_known(tmp_path):
    """For every answer of several tokens: its tokens, and the passes the engine says they were known from."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    template, passes = PromptTemplate.load(folder), []
    prompts = [Prompt(template.encode_text(text).ids, 6, -1) for text in ("Ann met Bo", "in Rome", "Bo")]
    decoder = Decoder.load(
        folder, threads=1, strategy=Strategy.JACOBI, graph_cache=tmp_path / "graphs", on_pass=passes.append
    )
    try:
        completions = [future.result(60) for future in decoder.submit_many(prompts)]
    finally:
        decoder.close()
    told = {("".join(fixing.tokens), fixing.passes) for fixing in fixings(passes, template)}
    assert told == {
        ("".join(template.show((token,)) for token in each.ids), each.fixed_at) for each in completions
    }


def test_explanation_tells_the_text_once_and_each_label_apart(told):
    """The first pass reads the text, and the labels as branches behind it."""
    first = told[0][0]
    texts = [text for _, text in first.read]
    assert sum("Ann met Bo in Rome." in text for text in texts) == 1
    assert [answering.question for answering in first.answering] == ["person <num>", "location <num>"]


def test_explanation_splits_drafts_where_the_model_went_another_way(told):
    """An accepted part of a draft is what the pass chose, or its beginning."""
    for step in told[0]:
        for answering in step.answering:
            for candidate in answering.candidates:
                assert answering.chosen.startswith(candidate.accepted)
