"""The page's HTTP server, at an address of its own: health endpoints are often open to more readers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from stream.errors import ConfigurationError, DeliveryError
from stream.kafka.producer import Position, send
from stream.kafka.records import OutgoingRecord
from stream.settings import Settings
from stream.worker.health_state import HealthState
from stream.worker.listening import listening
from stream.worker.metrics import WorkerMetrics
from stream.worker.page.contract import contract
from stream.worker.page.feed import SampleFeed
from stream.worker.page.figures import Figures
from stream.worker.page.guard import OPEN_TO_ALL, Guard, json_object, refusal
from stream.worker.page.text_trial import TextTrial, TrialRefusedError

_STATIC = Path(__file__).parent / "static"
_FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/icon.svg": "icon.svg"}
_INTERVAL = 0.5  # seconds between two writes to an open page
_SHOWN_AT_ONCE = 40  # samples in one write; more were never seen by anyone
_READERS = 8  # open pages
_FOUND = 20
_LARGEST_BODY = 1_048_576  # bytes
_SENDING_PATIENCE = 10.0
_SHUTDOWN_PATIENCE = 2.0


class Page:
    """State behind the page.

    Args:
        settings: Effective settings.
        health: State of the worker.
        metrics: Figures of the worker.

    Attributes:
        feed: Watches the stream.
        trial: Tries texts; None until the model is loaded.
    """

    def __init__(self, settings: Settings, health: HealthState, metrics: WorkerMetrics) -> None:
        self.feed = SampleFeed()
        self.trial: TextTrial | None = None
        self._settings = settings
        self._figures = Figures(settings, health, metrics, self.feed)
        self._guard = Guard(settings)
        self._readers = 0
        self._closing = asyncio.Event()

    def application(self) -> web.Application:
        """For aiohttp."""
        app = web.Application(middlewares=[self._guard.middleware], client_max_size=_LARGEST_BODY)
        app.add_routes(
            [
                *(web.get(path, self._file) for path in _FILES),
                web.get("/api/about", self._about),
                web.get("/api/stream", self._stream),
                web.get("/api/documents", self._search),
                web.get("/api/contract", self._contract),
                web.post(OPEN_TO_ALL, self._guard.login),
                web.post("/api/try", self._try),
                web.post("/api/documents", self._send),
            ]
        )
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        self._closing.set()

    async def _file(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(_STATIC / _FILES[request.path])

    async def _about(self, _: web.Request) -> web.Response:
        settings = self._settings
        return web.json_response(
            {
                "group": settings.group,
                "broker": settings.broker,
                "model_at": settings.triton_url if settings.inference == "triton" else "this process",
                "topics": [settings.documents_topic, settings.entities_topic, settings.dead_letters_topic],
                "labels": list(self.trial.default_labels) if self.trial else [],
            }
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: ``figures``, and ``samples`` since the last that this page has."""
        if self._readers >= _READERS:
            raise refusal(web.HTTPServiceUnavailable, f"{_READERS} pages are open already: close one")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._readers += 1
        try:
            await self._guard.prepare(answer, request)
            # A page that is gone shows as an error of the next write.
            with suppress(ConnectionError):
                await self._write_on(answer, request)
        finally:
            self._readers -= 1
        return answer

    async def _write_on(self, answer: web.StreamResponse, request: web.Request) -> None:
        last = _last_event(request)
        # A new token ends what the old one opened.
        while not self._closing.is_set() and self._guard.knows(request):
            figures = json.dumps(self._figures.latest(), separators=(",", ":")).encode()
            text = b"event: figures\ndata: %s\n\n" % figures
            if samples := self.feed.since(last, most=_SHOWN_AT_ONCE):
                last = samples[-1].number
                lines = b",".join(sample.line for sample in samples)
                text += b"id: %d\nevent: samples\ndata: [%s]\n\n" % (last, lines)
            # It waits while the page does not read; the samples of that time are passed over.
            await answer.write(text)
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await self._closing.wait()

    async def _search(self, request: web.Request) -> web.Response:
        wanted = request.query.get("id", "").strip()
        found = self.feed.search(wanted, most=_FOUND) if wanted else []
        body = b'{"kept":%d,"found":[%s]}' % (self.feed.kept, b",".join(each.line for each in found))
        return web.Response(body=body, content_type="application/json")

    async def _contract(self, _: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(contract, self._settings))

    async def _try(self, request: web.Request) -> web.Response:
        asked = await json_object(request)
        if self.trial is None:
            raise refusal(web.HTTPServiceUnavailable, "the model is not loaded yet: try again in a moment")
        try:
            return web.json_response(await self.trial.tell(asked))
        except TrialRefusedError as why:
            raise refusal(web.HTTPUnprocessableEntity, str(why)) from why

    async def _send(self, request: web.Request) -> web.Response:
        """Send a value to the documents topic as it was typed, so that a faulty one shows what it becomes."""
        asked = await json_object(request)
        key, value = asked.get("key"), asked.get("value")
        if not isinstance(value, str) or not (key is None or isinstance(key, str)):
            raise refusal(web.HTTPUnprocessableEntity, "value has to be a string, and key one or null")
        try:
            encoded = value.encode(), key.encode() if key else None
        except UnicodeEncodeError as error:
            raise refusal(web.HTTPUnprocessableEntity, "half of a surrogate pair is no text") from error
        try:
            position = await self._sent(*encoded)
        except (DeliveryError, ConfigurationError) as error:
            raise refusal(web.HTTPBadGateway, str(error)) from error
        return web.json_response({"position": position})

    async def _sent(self, value: bytes, key: bytes | None) -> str:
        """Position of a record once the broker has it.

        Raises:
            DeliveryError: It does not take the record.
        """
        record = OutgoingRecord(key, value, text="")
        stored: list[Position] = []
        self.feed.expect(value)
        try:
            async with asyncio.timeout(_SENDING_PATIENCE):
                await send(
                    [record],
                    settings=self._settings,
                    on_confirmed=lambda _, position: stored.append(position),
                )
        except TimeoutError as error:
            raise DeliveryError(
                f"{self._settings.broker} did not take the document in {_SENDING_PATIENCE:.0f} s"
            ) from error
        partition, offset = stored[0]
        return f"{self._settings.documents_topic}/{partition}/{offset}"


@asynccontextmanager
async def page_server(page: Page, host: str, port: int) -> AsyncIterator[str]:
    """Serve the page; yields its address.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    app = page.application()
    async with listening(
        app, host, port, name="page", setting="PADELLM_PAGE_PORT", shutdown_timeout=_SHUTDOWN_PATIENCE
    ) as address:
        yield f"{address}/"


def _last_event(request: web.Request) -> int:
    given: Any = request.headers.get("Last-Event-ID", "")
    return int(given) if given.isascii() and given.isdigit() else 0
