"""The engine against the slow decoder."""

import random

import pytest

from stream.engine.decoder import Decoder
from stream.generation import Completion, Prompt
from tests.engine.checkpoints import END_ID, FAMILIES, VOCABULARY, write_checkpoint
from tests.engine.slow_decoder import SlowDecoder


def assert_same(left: Completion, right: Completion) -> None:
    """Same tokens, log-probabilities within 1e-4."""
    assert left.ids == right.ids
    assert left.log_probs == pytest.approx(right.log_probs, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_decoder_equals_slow_decoder_in_every_family(family, tmp_path):
    """A document's branches, read together, say what each says alone."""
    folder = write_checkpoint(tmp_path / "model", family)
    slow = SlowDecoder(folder)
    draw = random.Random(family)
    text = tuple(draw.randrange(VOCABULARY) for _ in range(30))
    prompts = [
        Prompt((*text, *(draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 6)))), 8, END_ID)
        for _ in range(5)
    ]
    decoder = Decoder.load(folder, graph_cache=tmp_path / "cache")
    try:
        for prompt, future in zip(prompts, decoder.submit_many(prompts), strict=True):
            assert_same(future.result(30), slow.complete(prompt))
    finally:
        decoder.close()
