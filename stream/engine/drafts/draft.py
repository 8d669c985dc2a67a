"""A draft: a token tree that may continue a sequence, and the interface of its proposers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.engine.sequence import Sequence

START = -1
"""Parent of a draft's first tokens: the end of the sequence itself."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A tree of D drafted tokens after a sequence's end, each after its parent.

    Attributes:
        ids: The tokens.
        depths: Number of drafted tokens before each on its path.
        mask: (D, D), tree attention mask: true where a token (row) attends to itself or to an ancestor.
        sources: Name of the drafter of each.
        children: Index of a token by its parent's index (or ``START``) and its id.
    """

    ids: list[int]
    depths: list[int]
    mask: NDArray[np.bool_]
    sources: list[str]
    children: dict[tuple[int, int], int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True)
class DraftBuilder:
    """Collects tokens up to a width."""

    width: int
    _ids: list[int] = field(default_factory=list)
    _parents: list[int] = field(default_factory=list)
    _sources: list[str] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """True once the width is reached."""
        return len(self._ids) >= self.width

    def add(self, parent: int, token: int, source: str) -> int | None:
        """Add a token after another, or after ``START``.

        Returns:
            Its index, also if it exists already; None when it does not fit.
        """
        at = self._children.get((parent, token))
        if at is None and not self.full:
            at = self._children[parent, token] = len(self._ids)
            self._ids.append(token)
            self._parents.append(parent)
            self._sources.append(source)
        return at

    def add_chain(self, tokens: Iterable[int], source: str) -> None:
        """Add tokens one after the other, as far as they fit."""
        at = START
        for token in tokens:
            following = self.add(at, token, source)
            if following is None:
                return
            at = following

    def build(self) -> Draft | None:
        """The draft; None when it is empty."""
        count = len(self._ids)
        if not count:
            return None
        mask = np.eye(count, dtype=np.bool_)
        depths: list[int] = []
        for index, parent in enumerate(self._parents):
            depths.append(depths[parent] + 1 if parent != START else 0)
            if parent != START:
                mask[index] |= mask[parent]
        return Draft(self._ids, depths, mask, self._sources, self._children)


class Proposer(Protocol):
    """Drafts continuations for a pass to verify; called under the decoder's lock.

    A wrong draft costs time and never changes an answer.
    """

    def propose(self, sequence: Sequence, width: int, *, busy: bool) -> Draft | None:
        """Draft tokens after a sequence's end.

        Args:
            sequence: May still produce two tokens or more.
            width: Maximum number of tokens of the draft.
            busy: Whether other work waits, so that only likely tokens are worth their time.

        Returns:
            A draft no deeper than ``sequence.remaining - 1``; None when no token is worth verifying.
        """
        ...

    def learn(self, sequence: Sequence) -> None:
        """Learn from a finished sequence."""
        ...
