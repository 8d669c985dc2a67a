"""Figures of the worker at one moment, for the page."""

import time
from typing import Any

from stream.settings import Settings
from stream.worker.health_state import HealthState
from stream.worker.metrics import WorkerMetrics
from stream.worker.page.feed import SampleFeed

_FRESH = 0.4  # seconds; pages that are open at the same time share them


class Figures:
    """State of the worker and its parts; whole each time, so that a page that missed some is right again."""

    def __init__(
        self, settings: Settings, health: HealthState, metrics: WorkerMetrics, feed: SampleFeed
    ) -> None:
        self._settings, self._health, self._metrics, self._feed = settings, health, metrics, feed
        self._latest: dict[str, Any] = {}
        self._taken_at = float("-inf")

    def latest(self) -> dict[str, Any]:
        """The figures, as JSON takes them."""
        if time.monotonic() - self._taken_at > _FRESH:
            self._latest, self._taken_at = self._take(), time.monotonic()
        return self._latest

    def _take(self) -> dict[str, Any]:
        health, metrics, feed = self._health, self._metrics, self._feed
        pace = feed.pace()
        letters: dict[str, int] = {}
        for (_, reason), count in metrics.samples("padellm_dead_letters_total").items():
            letters[reason] = letters.get(reason, 0) + int(count)
        lag = {
            f"{topic}/{partition}": int(records)
            for (topic, partition), records in metrics.samples("padellm_lag").items()
        }
        return {
            "parts": {
                **{part.name: part.cause for part in (health.broker, health.model, health.registry) if part},
                # Of several model servers.
                **{
                    server: None if up else "out of service"
                    for (server,), up in metrics.samples("padellm_server_up").items()
                },
            },
            "stage": None if health.joined else health.stage,
            "causes": [*health.delays().values(), *filter(None, [health.fatal])],
            "outcomes": _by_label(metrics.samples("padellm_documents_total")),
            "entities": _by_label(metrics.samples("padellm_entities_total")),
            "reasons": letters,
            "per_second": pace.per_second,
            "milliseconds": pace.milliseconds,
            "in_flight": int(next(iter(metrics.samples("padellm_in_flight").values()), 0)),
            "room": self._settings.max_in_flight,
            "lag": lag,
            "sampled": feed.sampled,
            "finished": feed.finished,
            "kept": feed.kept,
        }


def _by_label(samples: dict[tuple[str, ...], float]) -> dict[str, int]:
    return {label: int(value) for (label,), value in samples.items()}
