"""Whom the page answers: who has the token, or is on loopback; and no request of another site's page."""

import asyncio
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import hdrs, web
from yarl import URL

from stream.errors import ConfigurationError
from stream.settings import Settings
from stream.settings.conflicts import SHORTEST_TOKEN
from stream.settings.protection import present
from stream.settings.values import LOOPBACK

_log = structlog.get_logger(__name__)
_UNAVAILABLE = 503
_COOKIE = "padellm_page"
_WRONG_TOKEN_PAUSE = 0.5
_HEADERS = {
    # Nothing from elsewhere, no script in the document, and no string that the DOM would parse as HTML.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SAFE = {"GET", "HEAD"}
_OF_THIS_PAGE = {None, "same-origin", "none"}
OPEN_TO_ALL = "/api/login"
_API = "/api/"

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """Checks requests before they reach the page.

    The files of the page are open: they hold nothing of the stream. All else is under ``/api/``, and needs
    the token where one is set, as a bearer token or as the cookie of a login.

    Args:
        settings: With the token, or with the file that holds it, which is read for every request.

    Raises:
        ConfigurationError: The file cannot be read, or its token is too short.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = secrets.token_bytes(32)  # of this process: cookies end with it
        self._logging_in = asyncio.Lock()
        self._token()

    async def prepare(self, answer: web.StreamResponse, request: web.Request) -> None:
        """Begin an answer that is written piece by piece, with the headers that every answer has."""
        answer.headers.update(_HEADERS)
        await answer.prepare(request)

    async def login(self, request: web.Request) -> web.Response:
        """Answer a token with a cookie; one try at a time, and none soon after a wrong one."""
        given = (await json_object(request)).get("token")
        async with self._logging_in:
            token = self._token()
            if token is not None and not (isinstance(given, str) and self._same(given, token)):
                await asyncio.sleep(_WRONG_TOKEN_PAUSE)
                raise refusal(web.HTTPForbidden, "this is not the token of PADELLM_PAGE_TOKEN")
        answer = web.json_response({"ok": True})
        if token is not None:
            answer.set_cookie(_COOKIE, self._mark(token), httponly=True, samesite="Strict", path="/")
        return answer

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handle) -> web.StreamResponse:
        """Check a request, and give every answer the headers that bind the browser."""
        try:
            self._check(request)
            answer = await handler(request)
        except web.HTTPException as refused:
            refused.headers.update(_HEADERS)
            raise
        except ConfigurationError as error:
            # The file of the token: nobody is let in without it.
            _log.warning("page closed", cause=str(error))
            answer = web.Response(status=_UNAVAILABLE)
        if not answer.prepared:
            answer.headers.update(_HEADERS)
        return answer

    def _check(self, request: web.Request) -> None:
        if self._token() is None and _host(request) not in LOOPBACK:
            # Another site's name may have been pointed at this address (DNS rebinding).
            raise refusal(web.HTTPForbidden, "open the page by the address that the worker prints")
        if not request.path.startswith(_API):
            return
        self._check_origin(request)
        if request.path != OPEN_TO_ALL and not self.knows(request):
            raise refusal(web.HTTPUnauthorized, "the page needs the token of PADELLM_PAGE_TOKEN")

    def _check_origin(self, request: web.Request) -> None:
        """Refuse what a page of another site asks for; programs that are no browsers send neither header."""
        origin = request.headers.get(hdrs.ORIGIN)
        foreign = request.headers.get("Sec-Fetch-Site") not in _OF_THIS_PAGE
        if foreign or (origin is not None and _authority(origin) != request.host):
            raise refusal(web.HTTPForbidden, "a page of another site may not ask this one")
        if request.method not in _SAFE and request.content_type != "application/json":
            # Forms of other sites cannot send this type without asking first.
            raise refusal(web.HTTPUnsupportedMediaType, "send application/json")

    def knows(self, request: web.Request) -> bool:
        """Return whether a request has the present token, or needs none."""
        token = self._token()
        if token is None:
            return True
        scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.casefold() == "bearer" and self._same(bearer.strip(), token):
            return True
        cookie = request.cookies.get(_COOKIE, "")
        return hmac.compare_digest(cookie.encode(errors="replace"), self._mark(token).encode())

    def _token(self) -> str | None:
        token = present(self._settings, "page_token")
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise ConfigurationError(
                f"PADELLM_PAGE_TOKEN_FILE={self._settings.page_token_file} holds fewer than {SHORTEST_TOKEN} "
                "characters: they could be guessed"
            )
        return token

    def _same(self, given: str, token: str) -> bool:
        """Compare in a time that depends on neither, their lengths included."""
        return hmac.compare_digest(self._mark(given), self._mark(token))

    def _mark(self, token: str) -> str:
        return hmac.digest(self._key, token.encode(errors="replace"), "sha256").hex()


def refusal(kind: type[web.HTTPException], why: str) -> web.HTTPException:
    """An answer that refuses, with the reason as JSON."""
    return kind(text=json.dumps({"error": why}), content_type="application/json")


async def json_object(request: web.Request) -> dict[str, Any]:
    """The body of a request, which is a JSON object.

    Raises:
        aiohttp.web.HTTPBadRequest: It is none.
    """
    try:
        content = await request.json()
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise refusal(web.HTTPBadRequest, "send a JSON object")
    return content


def _host(request: web.Request) -> str | None:
    try:
        return URL(f"http://{request.host}").host
    except ValueError:
        return None


def _authority(origin: str) -> str | None:
    try:
        url = URL(origin)
    except ValueError:
        return None
    return url.authority or None
