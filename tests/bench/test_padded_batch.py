"""The paper's single-device script: prompts as rows of a padded batch."""

import pytest

from stream.bench.cases import Forced
from stream.bench.padded_batch import PaddedBatch
from stream.engine.decoder import Decoder, EngineOptions
from stream.engine.model.session import Model
from stream.generation import Prompt
from tests.tiny_model import write_tiny_checkpoint

END = 255
PROMPTS = [
    Prompt((5, 9, 14), 6, END),
    Prompt((7, 7, 20, 31, 2, 8, 60, 12), 3, END),
    Prompt((41,), 1, END),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def greedy(folder, tmp_path_factory):
    """Prompts with what the engine answers them."""
    decoder = Decoder.load(folder, EngineOptions(threads=1, graph_cache=tmp_path_factory.mktemp("graphs")))
    try:
        futures = decoder.submit_many(PROMPTS)
        return [Forced(prompt, future.result().ids) for prompt, future in zip(PROMPTS, futures, strict=True)]
    finally:
        decoder.close()


def test_padded_batch_chooses_the_engines_tokens(folder, greedy):
    """Rows of unlike length, padded and in lock-step, come to the engine's greedy answers."""
    run = PaddedBatch(Model.load(folder)).decode(greedy)
    assert [chosen[: len(row.answer)] for chosen, row in zip(run.chosen, greedy, strict=True)] == [
        row.answer for row in greedy
    ]


def test_padded_batch_runs_until_its_longest_row_is_done(folder, greedy):
    """Passes are the longest row's steps, and every row reads as much as the longest."""
    run = PaddedBatch(Model.load(folder)).decode(greedy)
    steps = max(row.steps for row in greedy)
    assert run.passes == steps
    assert run.tokens_read == len(greedy) * (8 + steps - 1)
