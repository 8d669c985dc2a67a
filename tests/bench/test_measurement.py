"""Strategies measured side by side."""

import pytest

from stream.bench.cases import CaseMaker
from stream.bench.measurement import Workload, documents_to_decode, measure
from stream.bench.strategies import FLOOR, GOLD, NAMES, OWN_ANSWERS, Opener
from stream.corpora.document import AnnotatedDocument
from stream.engine.decoder import Decoder
from stream.engine.model.session import Model
from stream.ner.template import PromptTemplate
from tests.tiny_model import write_tiny_checkpoint

TEXTS = ("Ann met Bo in Rome.", "Bo left for Paris and Oslo.", "nothing at all")
MENTIONS = {"Ann": "PER", "Bo": "PER", "Rome": "LOC", "Paris": "LOC", "Oslo": "LOC"}


def annotated(text):
    """A text with its mentions marked."""
    entities = [
        {"start": text.index(name), "end": text.index(name) + len(name), "text": name, "label": label}
        for name, label in MENTIONS.items()
        if name in text
    ]
    return AnnotatedDocument(text=text, entities=entities)


@pytest.fixture(scope="module")
def opener(tmp_path_factory):
    """Strategies over a tiny model."""
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny")
    return Opener(Model.load(folder), PromptTemplate.load(folder))


@pytest.fixture(scope="module")
def cases(opener):
    """Three documents: with three mentions of two labels, three of two, and none."""
    return CaseMaker(opener.template, ["PER", "LOC"]).cases(map(annotated, TEXTS))


async def totals(opener, name, case):
    """Counts of one document."""
    strategy = opener.open(name)
    try:
        await strategy.decode(case)
        return strategy.totals()
    finally:
        await strategy.close()


@pytest.mark.parametrize("name", [name + GOLD if name in OWN_ANSWERS else name for name in NAMES])
async def test_benchmark_forced_strategies_produce_the_gold_answers(opener, cases, name):
    """Each method writes exactly as many tokens as its form of the gold answer has."""
    case = cases[0]
    padellm = [each for label in case.labels for each in (label.count, *label.mentions)]
    answers = {"autoreg_struct": [case.struct], "autoreg_aug": [case.aug], "onestep": case.onestep}
    expected = sum(len(each.answer) for each in answers.get(name, padellm))
    assert (await totals(opener, name, case)).produced == expected


async def test_benchmark_counts_the_passes_that_the_method_says(opener, cases):
    """An answer takes a pass a token, its end included; PaDeLLM its longest mention after the counts."""
    case = cases[0]
    longest = max(mention.steps for label in case.labels for mention in label.mentions)
    assert (await totals(opener, FLOOR, case)).passes == 1
    assert (await totals(opener, "autoreg_struct", case)).passes == case.struct.steps
    assert (await totals(opener, "padellm_no_drafts" + GOLD, case)).passes == 1 + longest
    assert (await totals(opener, "padellm_script", case)).passes == 1 + longest
    assert (await totals(opener, "padellm_multi", case)).passes == 1 + longest


async def test_benchmark_padellm_decodes_what_the_engine_answers(opener, cases):
    """Without forcing, counts and mentions are those the engine gives to the same prompts."""
    decoder = Decoder(opener.model)
    try:
        counts = [decoder.submit(label.count.prompt).result().ids for label in cases[1].labels]
        numbers = [opener.template.parse_count(ids) or 0 for ids in counts]
        prompts = [
            opener.template.mention_prompt(label.count.prompt, number, k)
            for label, number in zip(cases[1].labels, numbers, strict=True)
            for k in range(1, number + 1)
        ]
        mentions = [future.result().ids for future in decoder.submit_many(prompts)]
    finally:
        decoder.close()
    produced = (await totals(opener, "padellm", cases[1])).produced
    assert produced == sum(map(len, (*counts, *mentions)))


async def test_benchmark_measures_every_document_with_every_strategy(opener, cases):
    """All strategies see all documents, at every level of throughput, and progress is told of each."""
    workload, seen = Workload(cases, cases, cases[:1]), []
    names = [FLOOR, "padellm", "padellm_script", "padellm_multi"]
    measured = await measure(names, opener.open, workload, in_flight=(2,), on_document=lambda: seen.append(1))
    assert len(seen) == len(names) * documents_to_decode(workload, (2,))
    for each in measured.values():
        assert len(each.ms) == len(each.passes) == len(cases)
        assert set(each.as_dict()["documents_per_second"]) == {"1", "2"}
        assert all(rate > 0 for rate in each.documents_per_second.values())
