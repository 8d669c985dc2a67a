"""Reliability of scores, held against the share of right mentions (Guo et al. 2017, arXiv 1706.04599)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_BINS = 15


class Judged(NamedTuple):
    """An entity's label and score, and whether the gold annotation has it at its place."""

    label: str
    score: float
    right: bool


@dataclass(frozen=True, slots=True)
class Bin:
    """Entities whose scores lie in one interval.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        entities: Their number.
        score: Their mean score.
        right: The share of them that is right.
    """

    low: float
    high: float
    entities: int
    score: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Attributes: ``bins``, those with entities, in order; ``brier``, the scores' mean squared error."""

    bins: tuple[Bin, ...]
    brier: float

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> "Reliability":
        """Entities in 15 bins of equal width."""
        filled: list[list[Judged]] = [[] for _ in range(_BINS)]
        for one in judged:
            filled[min(int(one.score * _BINS), _BINS - 1)].append(one)
        errors = sum((one.score - one.right) ** 2 for one in judged)
        return cls(
            tuple(_bin(number, inside) for number, inside in enumerate(filled) if inside),
            errors / len(judged) if judged else 0.0,
        )

    @property
    def entities(self) -> int:
        """Number of judged entities."""
        return sum(each.entities for each in self.bins)

    @property
    def error(self) -> float:
        """Expected calibration error: the distance of score and share in a bin, averaged over entities."""
        distances = sum(each.entities * abs(each.score - each.right) for each in self.bins)
        return distances / self.entities if self.entities else 0.0


def _bin(number: int, inside: Sequence[Judged]) -> Bin:
    count = len(inside)
    return Bin(
        number / _BINS,
        (number + 1) / _BINS,
        count,
        sum(one.score for one in inside) / count,
        sum(one.right for one in inside) / count,
    )
