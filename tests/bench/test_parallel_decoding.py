"""Jacobi, Gauss-Seidel and lexical unit decoding on the engine."""

import random
from concurrent.futures import Future

import numpy as np
import pytest

from stream.bench.decoding import Decoding
from stream.bench.parallel_decoding import GUESS, PADDING, GuessBlocks, LexicalUnits, open_decoder
from stream.engine.decoder import EngineOptions
from stream.engine.drafts.draft import DraftBuilder
from stream.engine.forward import PassOutput
from stream.engine.model.session import Model
from stream.engine.sequence import Sequence, SpanConstraint
from stream.generation import Prompt
from tests.engine.checkpoints import END_ID, VOCABULARY, write_checkpoint
from tests.engine.slow_decoder import SlowDecoder

SECONDS = 60
END = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model", "llama")


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    """The tiny Llama, loaded."""
    return Model.load(folder, graph_cache=tmp_path_factory.mktemp("graphs"))


def output(*rows: dict[int, float]) -> PassOutput:
    """Probabilities of a few tokens in every row; the rest is spread over the others of ten."""
    table = np.array(
        [[row.get(token, (1 - sum(row.values())) / (10 - len(row))) for token in range(10)] for row in rows]
    )
    logits = np.log(table).astype(np.float32)
    return PassOutput(logits, logits.argmax(axis=1).tolist(), [])


def draft(*chains: list[int]):
    """A draft of several candidates."""
    builder = DraftBuilder(20)
    for chain in chains:
        builder.add_chain(chain, "test")
    return builder.build()


def sequence(forced: tuple[int, ...] | None = None) -> Sequence:
    """A prompt with an answer of up to ten tokens."""
    return Sequence(Prompt((1, 2, 3), 10, END), Future(), forced)


@pytest.mark.parametrize("decoding", [each for each in Decoding if each.lossless])
def test_parallel_decoding_equals_greedy_decoding(folder, model, decoding):
    """Every lossless method has the slow decoder's answers, in no more passes than tokens and an end."""
    draw, slow = random.Random(7), SlowDecoder(folder)
    text = tuple(draw.randrange(VOCABULARY) for _ in range(20))
    prompts = [Prompt((*text, draw.randrange(VOCABULARY)), 12, END_ID) for _ in range(6)]
    decoder = open_decoder(decoding, model, EngineOptions())
    try:
        for prompt, future in zip(prompts, decoder.submit_many(prompts), strict=True):
            completion = future.result(SECONDS)
            expected = slow.complete(prompt)
            assert completion.ids == expected.ids
            assert completion.log_probs == pytest.approx(expected.log_probs, abs=1e-4)
            assert completion.passes <= len(completion.ids) + 1
    finally:
        decoder.close()


@pytest.mark.parametrize(
    ("sliding", "guesses", "sources"), [(True, [6, 7, 5], [GUESS, GUESS, PADDING]), (False, [6], [GUESS])]
)
def test_guess_blocks_guess_the_most_likely_tokens_of_the_last_pass(sliding, guesses, sources):
    """The first block repeats the last token; then Jacobi's block slides, Gauss-Seidel's shrinks."""
    blocks, answered = GuessBlocks(4, sliding=sliding), sequence()
    first = blocks.propose(answered, 32, busy=False)
    assert (first.ids, first.sources) == ([3, 3, 3], [PADDING] * 3)
    blocks.verify(answered, output({3: 0.9}, {5: 0.9}, {6: 0.9}, {7: 0.9}), first, row=0, first=1)
    assert answered.produced == [3, 5]
    second = blocks.propose(answered, 32, busy=False)
    assert (second.ids, second.sources) == (guesses, sources)


@pytest.mark.parametrize(("threshold", "taken"), [(0.2, [3, 4]), (0.4, [5])])
def test_lexical_units_accept_a_drafted_token_above_the_threshold(threshold, taken):
    """If the most likely token was not drafted, a drafted one is accepted from the threshold on."""
    answered = sequence()
    passed = output({5: 0.6, 3: 0.3}, {4: 0.9}, {END: 0.9})
    verified = LexicalUnits(threshold).verify(answered, passed, draft([3, 4]), row=0, first=1)
    assert answered.produced == taken
    assert verified.finished is (taken == [3, 4])
    assert answered.log_probs[0] == pytest.approx(np.log(0.6 if taken == [5] else 0.3), abs=1e-6)


def test_lexical_units_prefer_the_most_likely_token_if_it_was_drafted():
    """The threshold does not matter then."""
    answered = sequence()
    passed = output({5: 0.5, 3: 0.4}, {END: 0.9}, {END: 0.9})
    LexicalUnits(0.2).verify(answered, passed, draft([3], [5]), row=0, first=1)
    assert answered.produced == [5]


def test_lexical_units_change_no_forced_or_constrained_answer():
    """A forced answer is the given one, and a constrained one the most likely span."""
    passed = output({5: 0.6, 3: 0.3}, {END: 0.9})
    forced, constrained = sequence(forced=(5,)), sequence()
    constrained.constraint = SpanConstraint.of(np.array([5, 3]), END)
    for answered in (forced, constrained):
        LexicalUnits(0.2).verify(answered, passed, draft([3]), row=0, first=1)
        assert answered.produced == [5]
