"""A draft: tokens guessed to follow a sequence's end, and the seam to whatever proposes them."""

from collections.abc import Iterable
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.engine.sequence import Sequence

START = -1
"""Parent of a draft's first tokens: the end of the sequence itself."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A trie of D drafted tokens behind a sequence, each after its parent.

    Attributes:
        ids: The tokens.
        depths: How many drafted tokens stand before each.
        sees: (D, D), whether a token (row) is another or comes after it on its path.
        sources: Who proposed each.
        children: Index of the token that follows another's, or ``START``, by that index and token id.
    """

    ids: list[int]
    depths: list[int]
    sees: NDArray[np.bool_]
    sources: list[str]
    children: dict[tuple[int, int], int]

    def __len__(self) -> int:
        return len(self.ids)

    def after(self, index: int) -> list[int]:
        """The tokens drafted right behind another, or behind ``START``."""
        return [token for parent, token in self.children if parent == index]


@dataclass(slots=True)
class DraftBuilder:
    """Collects candidates up to a width."""

    width: int
    _ids: list[int] = field(default_factory=list)
    _parents: list[int] = field(default_factory=list)
    _sources: list[str] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Whether nothing more fits."""
        return len(self._ids) >= self.width

    def add(self, parent: int, token: int, source: str) -> int | None:
        """A token after another, or after ``START``.

        Returns:
            Its index, also if it was there; None when it did not fit.
        """
        at = self._children.get((parent, token))
        if at is None and not self.full:
            at = self._children[parent, token] = len(self._ids)
            self._ids.append(token)
            self._parents.append(parent)
            self._sources.append(source)
        return at

    def add_chain(self, tokens: Iterable[int], source: str) -> None:
        """Tokens one after the other, as far as they fit."""
        at = START
        for token in tokens:
            following = self.add(at, token, source)
            if following is None:
                return
            at = following

    def build(self) -> Draft | None:
        """What was collected; None when that is nothing."""
        count = len(self._ids)
        if not count:
            return None
        sees = np.eye(count, dtype=np.bool_)
        depths: list[int] = []
        for index, parent in enumerate(self._parents):
            depths.append(depths[parent] + 1 if parent != START else 0)
            if parent != START:
                sees[index] |= sees[parent]
        return Draft(self._ids, depths, sees, self._sources, self._children)


class Proposer(Protocol):
    """Drafts continuations, which a pass verifies; called under the decoder's lock.

    Wrong drafts cost time and never change an answer.
    """

    def propose(self, sequence: Sequence, width: int, *, busy: bool) -> Draft | None:
        """Candidates for what follows a sequence.

        Args:
            sequence: May produce two tokens or more, so that a draft can help it.
            width: Most tokens of the draft.
            busy: Whether other work waits, so that only what is likely right is worth its time.

        Returns:
            A draft no deeper than ``sequence.remaining - 1``; None when nothing is worth verifying.
        """
        ...

    def learn(self, sequence: Sequence, accepted: int, following: Tokens[int]) -> None:
        """Hear what a pass said of a draft.

        Args:
            sequence: With the tokens it took in this pass.
            accepted: How many tokens of the draft were right.
            following: The likeliest token after the sequence's former end, and after each of the draft's.
        """
        ...

    def finish(self, sequence: Sequence) -> None:
        """Hear that a sequence has its whole answer."""
        ...
