"""Precision, recall, F1 and accuracy, as counts that add up over documents and are divided last."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """True positives, false positives and false negatives; a micro-average is a sum of scores.

    Attributes:
        tp: Predicted and in the gold annotation; an overlap may count half.
        fp: Predicted and not in it.
        fn: In it and not predicted.
    """

    tp: float = 0
    fp: float = 0
    fn: float = 0

    @classmethod
    def of(cls, predicted: Collection[object], gold: Collection[object]) -> "Score":
        """Compare two sets."""
        tp = len(set(predicted) & set(gold))
        return cls(tp, len(set(predicted)) - tp, len(set(gold)) - tp)

    def __add__(self, other: "Score") -> "Score":
        return Score(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """Share of the predictions that are right; 0 without predictions."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the gold that was predicted; 0 without gold."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 without gold and predictions."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Right answers of all answers."""

    right: int = 0
    total: int = 0

    def __add__(self, other: "Accuracy") -> "Accuracy":
        return Accuracy(self.right + other.right, self.total + other.total)

    @property
    def share(self) -> float:
        """Share of right answers; 0 without answers."""
        return _share(self.right, self.total)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
