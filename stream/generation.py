"""The seam between the method and whatever runs the model: prompts, completions, generators."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Prompt:
    """One sequence to continue greedily.

    Attributes:
        ids: Token ids of the prompt, never empty.
        max_new_tokens: Upper limit of tokens to produce, at least 1.
        end_id: Generation ends when this id is chosen; it is not part of the completion.
        stop_ids: Generation ends after any of these ids; the id IS part of the completion
            (as stop words are in TensorRT-LLM's ``tensorrt_llm`` model).
    """

    ids: tuple[int, ...]
    max_new_tokens: int
    end_id: int
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """The greedy continuation of a prompt.

    Attributes:
        ids: Produced token ids, without the end id.
        log_probs: One natural-log probability over the whole vocabulary for each of ``ids``.
        passes: Sequential forward passes it took, where the engine tells (0: it does not); no part of
            equality.
        fixed_at: For each of ``ids``, the first of these passes, from 1, from which on the token was known,
            where the engine tells; no part of equality.
    """

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    passes: int = field(default=0, compare=False)
    fixed_at: tuple[int, ...] = field(default=(), compare=False)


__all__ = ["Completion", "Generator", "Prompt"]


class Generator(Protocol):
    """Continues prompts greedily. Many calls may be in flight at once.

    Prompts that share a prefix should be sent together: every implementation reads a shared prefix once.
    Cancelling the awaiting task cancels the generation.
    """

    async def generate(self, prompt: Prompt) -> Completion:
        """Continue one prompt.

        Raises:
            stream.errors.InferenceError: The model could not answer; its subclass says whether a
                later try may help.
        """
        ...

    async def ready(self) -> bool:
        """Whether a prompt sent now would be served."""
        ...

    async def close(self) -> None:
        """Release connections and threads; calls in flight are cancelled."""
        ...
