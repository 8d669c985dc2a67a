"""The seam between the method and whatever runs the model."""

from typing import Protocol

from stream.generation import Completion, Prompt

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
