"""Refusals of different documents with the same words: rather a fault of the server than of each of them."""

import re
import time

import structlog

from stream.worker.health_state import DependencyStatus
from stream.worker.metrics import WorkerMetrics

_log = structlog.get_logger(__name__)
_ALIKE = 3  # different documents
_LONGEST_HOLD = 600.0
_MOST_WORDS = 16  # kinds of refusals that are kept
_OPERATION = "refusals"
_NUMBER = re.compile(r"[0-9]+")


class RefusalLog:
    """Keeps which documents were refused with the same words since the last one that was answered.

    The third raises the alarm: the model is unavailable, and these documents are held. They are given up only
    when the model has answered another document meanwhile, or after ten minutes.

    Args:
        metrics: Shows the number of documents.
        status: Status of the model.
    """

    def __init__(self, metrics: WorkerMetrics, status: DependencyStatus) -> None:
        self._metrics = metrics
        self._status = status
        self._refused: dict[str, set[object]] = {}
        self._answered_at = 0.0

    def add(self, document: object, error: Exception) -> None:
        """Note a refusal.

        Args:
            document: Identity of the document, by its hash.
            error: The refusal; numbers in its message do not count as words.
        """
        words = _NUMBER.sub("#", str(error))
        refused = self._refused.setdefault(words, set())
        known = document in refused
        refused.add(document)
        if len(self._refused) > _MOST_WORDS:
            del self._refused[next(iter(self._refused))]
        self._metrics.refused_alike.set(max(map(len, self._refused.values())))
        if len(refused) < _ALIKE:
            return
        self._status.failed(_OPERATION, f"{len(refused)} documents in a row are refused alike: {error}")
        if len(refused) == _ALIKE and not known:
            _log.error(
                "documents refused alike",
                documents=_ALIKE,
                cause=str(error),
                effect="they are held until the model answers another one, for 10 minutes at most",
            )

    def holds(self, document: object, held_at: float | None) -> bool:
        """Return whether a document that was refused should wait for the server to be mended.

        Args:
            document: As in ``add``.
            held_at: ``time.monotonic()`` since which it is held; None while it is not.
        """
        if held_at is not None and not self._answered_at < held_at > time.monotonic() - _LONGEST_HOLD:
            return False
        return any(document in refused and len(refused) >= _ALIKE for refused in self._refused.values())

    def answered(self) -> None:
        """Note that the model has answered a document: what is refused now is refused for its own sake."""
        self._answered_at = time.monotonic()
        if self._refused:
            self._refused.clear()
            self._metrics.refused_alike.set(0)
            self._status.worked(_OPERATION)
