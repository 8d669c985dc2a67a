"""Answers held to spans of the prompt's text: a token may come next where it goes on a span, or ends one."""

from dataclasses import dataclass

import numpy as np

from stream.engine.outcome import Outcome
from stream.engine.prompt import Ids


@dataclass(slots=True)
class Grounding:
    """Where in a text an answer may be; the state of one sequence.

    Instead of a trie of all spans it holds the ends of those that begin like the answer.

    Attributes:
        text: (T), the text's tokens.
        end_id: May follow any span, but not nothing.
        next: (M), places in the text of the tokens that may come next; ``T`` where a span reaches the end.
    """

    text: Ids
    end_id: int
    next: Ids

    @classmethod
    def of(cls, text: Ids, end_id: int) -> "Grounding":
        """Before the first token."""
        return cls(text, end_id, np.arange(len(text)))

    def choose(self, outcome: Outcome, row: int) -> int:
        """The likeliest token that may come next; its log-probability stays the unconstrained one."""
        begun = len(self.next) != len(self.text) or self.next[0] != 0
        allowed = self.text[self.next[self.next < len(self.text)]]
        token = outcome.best_of(row, np.append(allowed, self.end_id) if begun else allowed)
        if token != self.end_id:
            self._take(token)
        return token

    def _take(self, token: int) -> None:
        inside = self.next[self.next < len(self.text)]
        self.next = inside[self.text[inside] == token] + 1
