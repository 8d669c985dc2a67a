"""A decode told pass by pass."""

import pytest

from stream.engine.decoder import Decoder
from stream.evaluation.explanation import explain
from stream.inference.in_process import InProcessGenerator
from stream.messages import Document
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
