"""The seam to an engine of another project that continues token ids, and what such engines share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stream.generation import Completion, Prompt
from stream.inference.contract import CacheUse, Refusal


class EngineDied(Exception):  # noqa: N818 - names what happened
    """The engine is gone for good, and every further request would fail."""


@dataclass(frozen=True)
class PromptLimits:
    """Bounds of what an engine takes.

    Attributes:
        vocabulary: Number of token ids.
        length: Most tokens of a prompt and its answer.
    """

    vocabulary: int
    length: int

    def check(self, prompt: Prompt) -> None:
        """Refuse a prompt here: an id that the model lacks would break the GPU's context for all requests.

        Raises:
            Refusal: It has such an id, or could not be answered in full.
        """
        if min(prompt.ids) < 0 or max(prompt.ids) >= self.vocabulary:
            raise Refusal(f"token ids go from 0 to {self.vocabulary - 1}; the prompt holds others")
        if len(prompt.ids) + prompt.max_new_tokens > self.length:
            raise Refusal(
                f"{len(prompt.ids)} prompt tokens and up to {prompt.max_new_tokens} new ones do not fit: the "
                f"model takes {self.length}"
            )


class TokenEngine(Protocol):
    """Engine that continues token ids, used in one event loop.

    Attributes:
        limits: What it takes.
    """

    limits: PromptLimits

    @property
    def dead(self) -> bool:
        """State of an engine that is known to be gone for good, also while nothing is asked of it."""

    async def generate(self, prompt: Prompt) -> tuple[Completion, CacheUse]:
        """Continue a prompt; cancelling the awaiting task takes it out of the engine.

        Raises:
            EngineDied: The engine is gone for good.
            Exception: The request failed; the words are for its client.
        """

    def shutdown(self) -> None:
        """Stop the engine and its processes."""


def trimmed(prompt: Prompt, ids: Sequence[int], log_probs: Sequence[Mapping[int, Any]]) -> Completion:
    """The completion that an engine's output stands for: without an end id at its end.

    Args:
        prompt: What was asked.
        ids: Produced ids.
        log_probs: For each of them, and perhaps for an end id that was cut, objects with a ``logprob`` by id.

    Raises:
        ValueError: An id has no log-probability.
    """
    length = len(ids) - 1 if ids and ids[-1] == prompt.end_id else len(ids)
    if len(log_probs) < length or any(one not in by_id for one, by_id in zip(ids, log_probs, strict=False)):
        raise ValueError(f"{len(ids)} tokens came with log-probabilities of {len(log_probs)}, or of others")
    own = (float(by_id[one].logprob) for one, by_id in zip(ids[:length], log_probs, strict=False))
    return Completion(tuple(ids[:length]), tuple(own))


def cache_use(prompt: Prompt, cached: int, block: int) -> CacheUse:
    """Blocks of a prompt's tokens, of which some were cached."""
    return CacheUse(reused=cached // block, total=-(-len(prompt.ids) // block))
