"""What a sequence takes from a pass; no model is run."""

from concurrent.futures import Future

import numpy as np
import pytest

from stream.engine.constraint import Grounding
from stream.engine.drafts.draft import DraftBuilder
from stream.engine.outcome import Outcome
from stream.engine.sequence import Sequence
from stream.engine.verification import verify
from stream.generation import Prompt

END = 9


def outcome(*rows: dict[int, float]) -> Outcome:
    """Probabilities of a few tokens in every row; what is left is spread over the others of ten."""
    table = np.array(
        [[row.get(token, (1 - sum(row.values())) / (10 - len(row))) for token in range(10)] for row in rows]
    )
    logits = np.log(table).astype(np.float32)
    return Outcome(logits, logits.argmax(axis=1).tolist(), [])


def draft(*chains: list[int]):
    """A draft of several candidates."""
    builder = DraftBuilder(20)
    for chain in chains:
        builder.add_chain(chain, "test")
    return builder.build()


def sequence(forced: tuple[int, ...] | None = None) -> Sequence:
    """A prompt that may answer ten tokens."""
    return Sequence(Prompt((1, 2, 3), 10, END), Future(), forced)


@pytest.mark.parametrize(("confidence", "taken"), [(None, [5]), (0.2, [3, 4]), (0.4, [5])])
def test_verify_takes_a_confident_unit_that_was_drafted_though_another_token_is_likelier(confidence, taken):
    """Where the likeliest token was not drafted, a drafted one is taken from the given probability on."""
    said = outcome({5: 0.6, 3: 0.3}, {4: 0.9}, {END: 0.9})
    answered = sequence()
    verified = verify(answered, said, draft([3, 4]), row=0, first=1, confidence=confidence)
    assert answered.produced == taken
    assert verified.finished is (taken == [3, 4])
    assert answered.log_probs[0] == pytest.approx(np.log(0.6 if taken == [5] else 0.3), abs=1e-6)


def test_verify_prefers_the_likeliest_token_where_it_was_drafted():
    """Confidence in another drafted token changes nothing then."""
    said = outcome({5: 0.5, 3: 0.4}, {END: 0.9}, {END: 0.9})
    answered = sequence()
    verify(answered, said, draft([3], [5]), row=0, first=1, confidence=0.2)
    assert answered.produced == [5]


def test_verify_is_confident_of_nothing_where_answers_are_forced_or_grounded():
    """A forced answer is the one given, and a grounded one the likeliest span."""
    said = outcome({5: 0.6, 3: 0.3}, {END: 0.9}, {END: 0.9})
    forced = sequence(forced=(5,))
    verify(forced, said, draft([3]), row=0, first=1, confidence=0.2)
    assert forced.produced == [5]
    grounded = sequence()
    grounded.grounding = Grounding.of(np.array([5, 3]), END)
    verify(grounded, said, draft([3]), row=0, first=1, confidence=0.2)
    assert grounded.produced == [5]
