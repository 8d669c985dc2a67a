"""A prompt on its way through the engine."""

from concurrent.futures import Future
from dataclasses import dataclass, field

from stream.engine.prefix_tree import Node
from stream.generation import Completion, Prompt


@dataclass(slots=True, eq=False)
class Sequence:
    """State of one prompt.

    Attributes:
        node: Where its tokens end in the prefix tree; None before its first pass and after it gave way.
        produced: Tokens chosen so far, the end id left out.
        passes: Passes that read tokens for it.
    """

    prompt: Prompt
    future: Future[Completion]
    node: Node | None = None
    produced: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    passes: int = 0

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and what was produced."""
        return (*self.prompt.ids, *self.produced)

    def accept(self, token: int, log_prob: float) -> bool:
        """Take the next token.

        Returns:
            Whether the sequence is finished.
        """
        if token == self.prompt.end_id:
            return True
        self.produced.append(token)
        self.log_probs.append(log_prob)
        return token in self.prompt.stop_ids or len(self.produced) >= self.prompt.max_new_tokens

    def completion(self) -> Completion:
        """What was produced."""
        return Completion(tuple(self.produced), tuple(self.log_probs), passes=self.passes)
