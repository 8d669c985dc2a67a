"""A decode pass by pass."""

import pytest

from stream.bench.decoding import Decoding
from stream.bench.fixings import fixings
from stream.bench.parallel_decoding import GUESS, open_decoder
from stream.contract.messages import Document
from stream.engine.decoder import Decoder, EngineOptions
from stream.engine.drafts.draft import START, DraftBuilder
from stream.engine.model.session import Model
from stream.engine.trace import PassTrace, SequenceTrace
from stream.generation import Prompt
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.passes import explain
from tests.ner.oracle import tiny_template
from tests.tiny_model import write_tiny_checkpoint


@pytest.fixture
async def decoded(tmp_path):
    """The passes of a tiny model's decode, and the engine's statistics."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    template, passes = PromptTemplate.load(folder), []
    options = EngineOptions(threads=1, graph_cache=tmp_path / "graphs")
    decoder = Decoder.load(folder, options, on_pass=passes.append)
    generator = InProcessGenerator(decoder)
    try:
        await Extractor(generator, template).extract(
            Document(text="Ann met Bo in Rome.", labels=["PER", "LOC"])
        )
        return explain(passes, template), decoder.statistics()
    finally:
        await generator.close()


def test_explanation_accounts_for_every_pass_and_token(decoded):
    """Passes and tokens are those of the engine's statistics, drafts included."""
    steps, counted = decoded
    assert [step.number for step in steps] == list(range(1, counted.passes + 1))
    assert sum(step.tokens for step in steps) == counted.tokens_computed
    assert sum(step.drafted for step in steps) == sum(counted.tokens_drafted.values())


def test_fixings_follow_a_guess_back_to_its_first_pass():
    """A token is fixed by the pass that chose it, or by the first of those that kept guessing it."""
    template = tiny_template()
    a, b, c, d = template.encode_text("A b c d").ids[:4]
    answer = [
        (((), (a,)), (b, "padding")),
        (((a,), (b,)), (b, GUESS), (c, GUESS)),
        (((a, b), (c, d)), (c, GUESS), (d, "padding")),
    ]
    traces = []
    for number, ((earlier, chosen), *guesses) in enumerate(answer, start=1):
        builder, at = DraftBuilder(9), START
        for token, source in guesses:
            at = builder.add(at, token, source)
        trace = SequenceTrace(1, number, (a,), earlier, chosen, builder.build(), (), finished=number == 3)
        traces.append(PassTrace((), 1, 0, (trace,), {}))
    (fixing,) = fixings(traces, template)
    assert fixing.passes == (1, 1, 1, 3)
    assert fixing.tokens == tuple(template.show((token,)) for token in (a, b, c, d))


@pytest.mark.parametrize("decoding", [Decoding.PLAIN, Decoding.JACOBI])
async def test_fixings_have_every_answer_with_passes_in_bounds(tmp_path, decoding):
    """Every answer is listed once; without guesses each token is fixed by a pass of its own."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    template, passes = PromptTemplate.load(folder), []
    prompts = [Prompt(template.encode_text(text).ids, 6, -1) for text in ("Ann met Bo", "in Rome", "Bo")]
    model = Model.load(folder, threads=1, graph_cache=tmp_path / "graphs")
    decoder = open_decoder(decoding, model, EngineOptions(), on_pass=passes.append)
    try:
        completions = [future.result(60) for future in decoder.submit_many(prompts)]
    finally:
        decoder.close()
    found = fixings(passes, template)
    texts = ["".join(template.show((token,)) for token in each.ids) for each in completions]
    assert sorted("".join(fixing.tokens) for fixing in found) == sorted(texts)
    for fixing in found:
        passes_of = completions[texts.index("".join(fixing.tokens))].passes
        assert all(1 <= each <= passes_of for each in fixing.passes)
        if decoding is Decoding.PLAIN:
            assert fixing.passes == tuple(range(1, 7))


def test_trace_counts_the_cached_tokens_that_a_pass_attends_to(tmp_path):
    """A second prompt over a text attends to the text; a repeated one computes its last token again."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    passes = []
    options = EngineOptions(threads=1, drafts=False, graph_cache=tmp_path / "graphs")
    decoder = Decoder.load(folder, options, on_pass=passes.append)
    try:
        for ids in ((5, 6, 7, 8), (5, 6, 7, 9), (5, 6, 7, 9)):
            decoder.submit(Prompt(ids, 1, -1)).result(60)
    finally:
        decoder.close()
    assert [(trace.tokens, trace.past) for trace in passes] == [(4, 0), (1, 3), (1, 4)]
    assert all(set(trace.seconds) == {"schedule", "feed", "run", "accept"} for trace in passes)
    assert all(spent > 0 for trace in passes for spent in trace.seconds.values())


def test_explanation_shows_the_text_once_and_each_label_apart(decoded):
    """The first pass prefills the text, and the labels as branches after it."""
    first = decoded[0][0]
    texts = [text for _, text in first.prefilled]
    assert sum("Ann met Bo in Rome." in text for text in texts) == 1
    assert [answering.question for answering in first.answering] == ["person <num>", "location <num>"]


def test_explanation_splits_drafts_at_the_first_rejected_token(decoded):
    """The accepted part of a draft is a prefix of the tokens chosen."""
    for step in decoded[0]:
        for answering in step.answering:
            for candidate in answering.candidates:
                assert answering.chosen.startswith(candidate.accepted)
