"""The accept rule of speculative decoding; no model is run."""

from concurrent.futures import Future

import numpy as np
import pytest

from stream.engine.drafts.draft import DraftBuilder
from stream.engine.forward import PassOutput
from stream.engine.sequence import Sequence, SpanConstraint
from stream.engine.verification import Verifier
from stream.generation import Prompt

END = 9


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


def test_verifier_accepts_the_path_of_most_likely_tokens():
    """The accepted tokens are a path of the draft, and one chosen token follows them."""
    answered = sequence()
    passed = output({3: 0.9}, {4: 0.9}, {7: 0.6, 6: 0.3}, {1: 0.9}, {2: 0.9})
    verified = Verifier().verify(answered, passed, draft([3, 4, 6], [5]), row=0, first=1)
    assert (verified.path, verified.token, verified.finished) == ([0, 1], 7, False)
    assert answered.produced == [3, 4, 7]


def test_verifier_accepts_forced_tokens_whatever_the_model_prefers():
    """Under forced decoding the draft is compared with the given answer."""
    answered = sequence(forced=(5,))
    verified = Verifier().verify(answered, output({3: 0.9}, {4: 0.9}), draft([5]), row=0, first=1)
    assert (answered.produced, verified.path, verified.finished) == ([5], [0], True)
    assert answered.log_probs == pytest.approx([np.log(0.1 / 9)], abs=1e-5)


def test_verifier_chooses_among_allowed_tokens_under_constrained_decoding():
    """The most likely token of the text is taken where a more likely one is not in it."""
    answered = sequence()
    answered.constraint = SpanConstraint.of(np.array([5, 3]), END)
    verified = Verifier().verify(answered, output({4: 0.6, 3: 0.3}, {END: 0.9}), draft([3]), row=0, first=1)
    assert (answered.produced, verified.finished) == ([3], True)
