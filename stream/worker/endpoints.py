"""HTTP endpoints of the worker: /livez, /readyz, /metrics, /version."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from stream.worker.health_state import HealthState
from stream.worker.listening import listening
from stream.worker.metrics import WorkerMetrics

_UNAVAILABLE = 503
_DISTRIBUTION = "padellm-stream"


class HealthEndpoints:
    """Answers from present knowledge; no endpoint waits for a dependency."""

    def __init__(self, health: HealthState, metrics: WorkerMetrics) -> None:
        self._health = health
        self._metrics = metrics

    async def live(self, _: web.Request) -> web.Response:
        """200 while a restart would not help, 503 with the reason for one; outages are named in both."""
        stalled = self._health.stalled()
        return _answer(
            ok=stalled is None,
            why=stalled,
            joined=self._health.joined,
            waiting=self._health.waiting,
            idle_seconds=round(self._health.idle_for, 1),
            late=[delay.details() for delay in self._health.late] or None,
            **self._health.outages(),
        )

    async def ready(self, _: web.Request) -> web.Response:
        """200 when broker and model work, and this worker's share of the partitions moves; else 503, why."""
        causes = self._health.outages() | self._health.delays()
        if self._health.fatal:
            causes["worker"] = self._health.fatal
        if not self._health.joined:
            causes["group"] = self._health.stage
        elif topic := self._health.missing_topic:
            causes["topic"] = f"{topic} does not exist: create it with padellm topics"
        late = [delay.details() for delay in self._health.late] or None
        return _answer(ok=not causes, late=late, **causes)

    async def metrics(self, _: web.Request) -> web.Response:
        """WorkerMetrics in Prometheus' text format."""
        return web.Response(body=self._metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def version(self, _: web.Request) -> web.Response:
        """Name and version of this program."""
        return web.json_response({"name": _DISTRIBUTION, "version": program_version()})


def program_version() -> str:
    """Version of this program; unknown without an installed distribution."""
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


@asynccontextmanager
async def health_server(endpoints: HealthEndpoints, host: str, port: int) -> AsyncIterator[str]:
    """Serve the endpoints; yields their address.

    Raises:
        stream.errors.ConfigurationError: The address cannot be listened on.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", endpoints.live),
            web.get("/readyz", endpoints.ready),
            web.get("/metrics", endpoints.metrics),
            web.get("/version", endpoints.version),
        ]
    )
    async with listening(app, host, port, name="health endpoints", setting="PADELLM_HEALTH_PORT") as address:
        yield address


def _answer(*, ok: bool, **details: Any) -> web.Response:
    known = {name: value for name, value in details.items() if value is not None}
    return web.json_response({"ok": ok, **known}, status=200 if ok else _UNAVAILABLE)
