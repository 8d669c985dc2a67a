"""What engines of other projects share: limits of prompts, and the reading of answers."""

from types import SimpleNamespace

import pytest

from stream.generation import Completion, Prompt
from stream.inference.contract import NO_END, CacheUse, Refusal
from stream.inference.token_engine import PromptLimits, cache_use, trimmed

LOG_PROBS = [{one: SimpleNamespace(logprob=-one / 10), 99: SimpleNamespace(logprob=0.0)} for one in (4, 5, 6)]


@pytest.mark.parametrize(
    ("end_id", "expected"),
    [(6, Completion((4, 5), (-0.4, -0.5))), (NO_END, Completion((4, 5, 6), (-0.4, -0.5, -0.6)))],
)
def test_token_engine_answer_is_without_the_end_id(end_id: int, expected: Completion) -> None:
    """An engine may leave the end id at the end; the contract has neither it nor its log-probability."""
    assert trimmed(Prompt((1,), 3, end_id), [4, 5, 6], LOG_PROBS) == expected


def test_token_engine_answer_may_have_lost_its_end_id_already() -> None:
    """An engine that cuts the end id from the ids alone leaves one log-probability more."""
    assert trimmed(Prompt((1,), 3, 6), [4, 5], LOG_PROBS) == Completion((4, 5), (-0.4, -0.5))


@pytest.mark.parametrize("log_probs", [LOG_PROBS[:1], LOG_PROBS[1:]])
def test_token_engine_answer_without_a_score_is_refused(log_probs: list[dict[int, object]]) -> None:
    """A token without a log-probability of its own would have a wrong score."""
    with pytest.raises(ValueError, match="log-probabilities"):
        trimmed(Prompt((1,), 3, NO_END), [4, 5], log_probs)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (Prompt((1, 10), 1, 0), "from 0 to 9"),
        (Prompt((-1,), 1, 0), "from 0 to 9"),
        (Prompt((1,) * 7, 2, 0), "7 prompt tokens and up to 2 new ones do not fit: the model takes 8"),
    ],
)
def test_token_engine_is_spared_what_would_break_or_be_cut(prompt: Prompt, reason: str) -> None:
    """An id outside the vocabulary would end a GPU's context, and a long prompt's answer would be cut."""
    limits = PromptLimits(vocabulary=10, length=8)
    with pytest.raises(Refusal, match=reason):
        limits.check(prompt)
    limits.check(Prompt((1, 9), 6, 0))


def test_token_engine_counts_blocks() -> None:
    """A block in part filled is a block; cached tokens are whole ones."""
    assert cache_use(Prompt((1,) * 33, 1, 0), 32, 16) == CacheUse(reused=2, total=3)
