"""Scores as counts that add up and are divided last."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """Right, wrong and missed answers; micro-averages are sums of these.

    Attributes:
        right: Predicted and in the gold annotation; half an answer may be right.
        wrong: Predicted and not in it.
        missed: In it and not predicted.
    """

    right: float = 0
    wrong: float = 0
    missed: float = 0

    @classmethod
    def of(cls, predicted: Collection[object], gold: Collection[object]) -> "Score":
        """Compare two sets."""
        right = len(set(predicted) & set(gold))
        return cls(right, len(set(predicted)) - right, len(set(gold)) - right)

    def __add__(self, other: "Score") -> "Score":
        return Score(self.right + other.right, self.wrong + other.wrong, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """Share of the predicted that is right; 0 where nothing was predicted."""
        return _share(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the gold that was predicted; 0 where there is no gold."""
        return _share(self.right, self.right + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there is neither gold nor prediction."""
        return _share(2 * self.right, 2 * self.right + self.wrong + self.missed)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Right answers of all answers."""

    right: int = 0
    total: int = 0

    def __add__(self, other: "Accuracy") -> "Accuracy":
        return Accuracy(self.right + other.right, self.total + other.total)

    @property
    def share(self) -> float:
        """Share of right answers; 0 where there are none."""
        return _share(self.right, self.total)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
