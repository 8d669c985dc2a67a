"""The interface between the method and an engine: prompts, completions, generators."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Origin:
    """Thing that prompts are asked for, such as one record. Prompts of one origin share prefixes.

    Attributes:
        name: It goes into the ids of requests to a server, so that its log can be joined with ours.
    """

    name: str


# Of the present task's prompts; None where nobody named it.
origin: ContextVar[Origin | None] = ContextVar("origin", default=None)


@contextmanager
def asked_for(name: str) -> Iterator[None]:
    """Give the prompts of this block one origin, where they have none yet."""
    if origin.get() is not None:
        yield
        return
    token = origin.set(Origin(name))
    try:
        yield
    finally:
        origin.reset(token)


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
class ModelStamp:
    """Identity of a model, as its server states it.

    Attributes:
        checkpoint: SHA-256 of the checkpoint (``stream.fingerprint``).
        name: Name in the checkpoint's ``ner_config.json``; empty where the server does not say.
        version: Version there; likewise.
    """

    checkpoint: str
    name: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """The greedy continuation of a prompt.

    Attributes:
        ids: Produced token ids, without the end id.
        log_probs: One natural-log probability over the whole vocabulary for each of ``ids``.
        passes: Sequential forward passes it took; 0 from an engine that does not count them. Not compared.
        model: The model that made it, where its server says so. Not compared.
    """

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    passes: int = field(default=0, compare=False)
    model: ModelStamp | None = field(default=None, compare=False)


class Generator(Protocol):
    """Continues prompts greedily. Many calls may be in flight at once.

    Prompts that share a prefix should be sent together: every implementation computes a shared prefix once.
    Cancelling the awaiting task cancels the generation.
    """

    async def generate(self, prompt: Prompt) -> Completion:
        """Continue one prompt.

        Raises:
            stream.errors.InferenceError: The model could not answer. The subclass states whether a later try
                may help.
        """
        ...

    async def ready(self) -> bool:
        """Return whether a prompt sent now would be served.

        Raises:
            stream.errors.InferenceStopped: The model is gone for good; waiting for it is in vain.
        """
        ...

    async def close(self) -> None:
        """Release connections and threads; calls in flight are cancelled."""
        ...
