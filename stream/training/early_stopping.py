"""When a run stops before its last step: once the score on the development set no longer rises."""

from stream.training.metrics import Metrics

SAMPLE = "sample"
"""The event of ``metrics.jsonl`` that holds the score of an export."""


class EarlyStopping:
    """Reads in a run's log how its exports fared; so a run that goes on knows what it knew.

    Args:
        metrics: The log.
        patience: After so many exports without a better F1 than the best before them the run stops; None:
            never.
    """

    def __init__(self, metrics: Metrics, patience: int | None) -> None:
        self._metrics = metrics
        self._patience = patience

    @property
    def keeps_best(self) -> bool:
        """Whether the best export is kept, or else the last."""
        return self._patience is not None

    def improves(self, f1: float) -> bool:
        """Whether an F1 is better than all before it."""
        return f1 > max(self._scores(), default=-1.0)

    def is_due(self) -> bool:
        """Whether the run should stop."""
        scores = self._scores()
        if self._patience is None or not scores:
            return False
        return len(scores) - 1 - scores.index(max(scores)) >= self._patience

    def has_score(self, step: int) -> bool:
        """Whether the export of a step was scored."""
        return any(line["event"] == SAMPLE and line["step"] == step for line in self._metrics.lines())

    def _scores(self) -> list[float]:
        return [line["f1"] for line in self._metrics.lines() if line["event"] == SAMPLE]
