"""The worker's pages: /livez, /readyz, /metrics, /version."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from stream.errors import ConfigurationError
from stream.settings import Settings
from stream.worker.health_state import Vitals
from stream.worker.metrics import Telemetry

_log = structlog.get_logger(__name__)
_UNAVAILABLE = 503


class HealthPages:
    """Answers from what the worker knows already; no page waits for another part."""

    def __init__(self, settings: Settings, vitals: Vitals, telemetry: Telemetry) -> None:
        self._settings = settings
        self._vitals = vitals
        self._telemetry = telemetry

    async def live(self, _: web.Request) -> web.Response:
        """200 while a restart would not help; 503 says what is stuck."""
        stalled = self._vitals.stalled(self._settings.stall_limit)
        return _answer(
            ok=stalled is None,
            why=stalled,
            joined=self._vitals.joined,
            waiting=self._vitals.waiting,
            idle_seconds=round(self._vitals.idle_for, 1),
        )

    async def ready(self, _: web.Request) -> web.Response:
        """200 when broker and model answer and the group has given this worker its share."""
        vitals = self._vitals
        causes = {outage.part: outage.cause for outage in (vitals.broker, vitals.model) if outage.cause}
        if not vitals.joined:
            causes["group"] = vitals.stage
        return _answer(ok=not causes, **causes)

    async def metrics(self, _: web.Request) -> web.Response:
        """Prometheus' text format."""
        return web.Response(body=self._telemetry.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def version(self, _: web.Request) -> web.Response:
        """What runs here."""
        return web.json_response({"name": "padellm-stream", "version": version("padellm-stream")})


@asynccontextmanager
async def health_server(pages: HealthPages, host: str, port: int) -> AsyncIterator[str]:
    """Serve the pages; yields their address.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", pages.live),
            web.get("/readyz", pages.ready),
            web.get("/metrics", pages.metrics),
            web.get("/version", pages.version),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigurationError(
                f"the health page cannot listen on {host}:{port} ({error.strerror}): "
                "set PADELLM_HEALTH_PORT to a free port, or to 0 for any"
            ) from error
        address = f"http://{host}:{runner.addresses[0][1]}"
        _log.info("health page", address=address)
        yield address
    finally:
        await runner.cleanup()


def _answer(*, ok: bool, **details: Any) -> web.Response:
    known = {name: value for name, value in details.items() if value is not None}
    return web.json_response({"ok": ok, **known}, status=200 if ok else _UNAVAILABLE)
