"""A prompt on its way through the engine."""

from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.engine.constraint import Grounding
from stream.engine.prefix_tree import Node
from stream.engine.prompt import Question
from stream.generation import Completion, Prompt


@dataclass(slots=True, eq=False)
class Sequence:
    """State of one prompt.

    Attributes:
        forced: The answer to give whatever the model says, without the end id; None: what the model says.
        node: Where its tokens end in the prefix tree; None before its first pass and after it gave way.
        produced: Tokens chosen so far, the end id left out.
        passes: Passes that read tokens for it.
        fixed_at: For each token produced, the pass (from 1) from which on it was known.
        question: Its prompt by its parts, once a drafter has looked.
        states: What the model holds of the tokens of its prompt's text, once a drafter has looked.
        guesses: What may follow, where a strategy carries guesses from pass to pass, each with the pass that
            it came from.
        grounding: Holds the answer to spans of the prompt's text; None: nothing does.
    """

    prompt: Prompt
    future: Future[Completion]
    forced: tuple[int, ...] | None = None
    node: Node | None = None
    produced: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    fixed_at: list[int] = field(default_factory=list)
    passes: int = 0
    question: Question | None = None
    states: NDArray[np.float32] | None = None
    guesses: list[tuple[int, int]] = field(default_factory=list)
    grounding: Grounding | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and what was produced."""
        return (*self.prompt.ids, *self.produced)

    @property
    def remaining(self) -> int:
        """Most tokens it may still produce."""
        return self.prompt.max_new_tokens - len(self.produced)

    def accept(self, token: int, log_prob: float) -> bool:
        """Take the next token.

        A token that was guessed is known since the pass that the guess came from.

        Returns:
            Whether the sequence is finished.
        """
        if token == self.prompt.end_id:
            return True
        self.produced.append(token)
        self.log_probs.append(log_prob)
        guess, since = self.guesses.pop(0) if self.guesses else (token, self.passes)
        self.fixed_at.append(since if guess == token else self.passes)
        return token in self.prompt.stop_ids or self.remaining <= 0

    def forced_token(self) -> int | None:
        """The next token of a forced answer, in the end the end id; None when nothing is forced."""
        if self.forced is None:
            return None
        at = len(self.produced)
        return self.forced[at] if at < len(self.forced) else self.prompt.end_id

    def completion(self) -> Completion:
        """What was produced."""
        return Completion(
            tuple(self.produced), tuple(self.log_probs), passes=self.passes, fixed_at=tuple(self.fixed_at)
        )
