"""A prompt on its way through the engine, and groups of prompts over one text."""

from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.engine.prefix_tree import Node, TokenIds, common_prefix
from stream.engine.prompt import Ids, PromptParts
from stream.generation import Completion, Prompt

# A sequence and the first of its group differ, on average, in no more tokens than they share, or in this few.
_FEW_TOKENS = 8


@dataclass(slots=True)
class SpanConstraint:
    """Constrained decoding: the state that restricts one answer to spans of its prompt's text.

    It needs no trie of all spans; the positions after the spans that match the answer so far are enough.

    Attributes:
        text: (T), the text's tokens.
        end_id: May follow any span except the empty one.
        next: (M), positions in the text of the tokens that may come next; ``T`` after a span at its end.
    """

    text: Ids
    end_id: int
    next: Ids

    @classmethod
    def of(cls, text: Ids, end_id: int) -> "SpanConstraint":
        """The state before the first token."""
        return cls(text, end_id, np.arange(len(text)))

    def allowed(self) -> Ids:
        """Tokens that may come next."""
        begun = len(self.next) != len(self.text) or self.next[0] != 0
        inside = self.text[self.next[self.next < len(self.text)]]
        return np.append(inside, self.end_id) if begun else inside

    def advance(self, token: int) -> None:
        """Take one of the allowed tokens."""
        if token != self.end_id:
            inside = self.next[self.next < len(self.text)]
            self.next = inside[self.text[inside] == token] + 1


@dataclass(slots=True, eq=False)
class Sequence:
    """State of one prompt.

    Attributes:
        forced: Forced decoding (teacher forcing): the answer to give, without the end id; None: the model's.
        constraint: Constrained decoding's state; None: every token is allowed.
        node: The end of its tokens in the prefix tree; None before its first pass and after preemption.
        produced: Tokens chosen so far, without the end id.
        passes: Passes that computed tokens for it.
        parts: Its prompt by parts, cached by the drafter.
        features: (T, width), features of its text's tokens, cached by the drafter.
    """

    prompt: Prompt
    future: Future[Completion]
    forced: tuple[int, ...] | None = None
    constraint: SpanConstraint | None = None
    node: Node | None = None
    produced: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    passes: int = 0
    parts: PromptParts | None = None
    features: NDArray[np.float32] | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and produced tokens."""
        return (*self.prompt.ids, *self.produced)

    @property
    def remaining(self) -> int:
        """Maximum number of tokens it may still produce."""
        return self.prompt.max_new_tokens - len(self.produced)

    def accept(self, token: int, log_prob: float) -> bool:
        """Append the next token.

        Returns:
            Whether the sequence is finished.
        """
        if token == self.prompt.end_id:
            return True
        self.produced.append(token)
        self.log_probs.append(log_prob)
        return token in self.prompt.stop_ids or self.remaining <= 0

    def forced_token(self) -> int | None:
        """The next token under forced decoding, after the answer the end id; None without it."""
        if self.forced is None:
            return None
        at = len(self.produced)
        return self.forced[at] if at < len(self.forced) else self.prompt.end_id

    def completion(self) -> Completion:
        """The result."""
        return Completion(tuple(self.produced), tuple(self.log_probs), passes=self.passes)


@dataclass(slots=True, eq=False)
class Group:
    """Sequences that share most of their tokens: a document with its branches.

    Attributes:
        ids: Prompt of its first sequence.
        cached: Whether most of ``ids`` was cached on arrival, as for further prompts over a known text.
        sequences: In order of arrival.
        running: Whether one of its passes is in flight; the next one waits for it.
    """

    ids: TokenIds
    cached: bool = False
    sequences: dict[Sequence, None] = field(default_factory=dict)
    running: bool = False

    def suits(self, ids: TokenIds) -> bool:
        """True if a prompt shares enough with this group to be computed with it."""
        shared = common_prefix(self.ids, ids)
        return len(self.ids) + len(ids) - 2 * shared <= 2 * max(shared, _FEW_TOKENS)
