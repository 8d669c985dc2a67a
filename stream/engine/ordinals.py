"""Which of how many answers a prompt asks for, told from the prompts that went by."""

from bisect import bisect_left, insort
from dataclasses import dataclass

from stream.engine.prefix_tree import TokenIds
from stream.engine.recent import Recent

_COUNTS = 64
_MOST = 32


@dataclass(frozen=True, slots=True)
class Ordinal:
    """The answer at a ``place``, from 0, ``of`` so many to the same question."""

    place: int
    of: int


ONLY = Ordinal(0, 1)


class Ordinals:
    """A prompt that asks for one of several answers ends in how many they are, and which of them it wants.

    What these tokens mean is not known here. But those that end alike up to the last token ask for as many
    answers as there are last tokens, in the order of the vocabulary.
    """

    def __init__(self) -> None:
        self._last: Recent[int, list[int]] = Recent(lambda _: [], _COUNTS)

    def __len__(self) -> int:
        return len(self._last)

    def of(self, tail: TokenIds) -> Ordinal:
        """Of a prompt with these two last tokens; without any, the only answer."""
        if not tail:
            return ONLY
        seen = self._last.of(tail[0])
        place = bisect_left(seen, tail[1])
        if place == len(seen) or seen[place] != tail[1]:
            if len(seen) == _MOST:
                return ONLY
            insort(seen, tail[1])
        return Ordinal(place, len(seen))
