"""Whom the page answers."""

import asyncio

import pytest
from pydantic import ValidationError

from stream.errors import ConfigurationError
from stream.settings import Settings

TOKEN = "correct horse battery"
READS = ["/api/about", "/api/stream", "/api/documents?id=x", "/api/contract"]
WRITES = ["/api/try", "/api/documents", "/api/login"]
FILES = ["/", "/page.js", "/page.css", "/icon.svg"]


@pytest.mark.parametrize("path", READS)
async def test_guard_refuses_reading_without_the_token(serve_page, path):
    """With a token set, nothing of the stream is told to those who do not have it."""
    async with serve_page(page_token=TOKEN) as (_, session):
        async with session.get(path) as answer:
            assert answer.status == 401
        async with session.get(path, headers={"Authorization": f"Bearer {TOKEN}x"}) as answer:
            assert answer.status == 401
        async with session.get(path, headers={"Cookie": "padellm_page=" + "0" * 64}) as answer:
            assert answer.status == 401


async def test_guard_refuses_writing_without_the_token(serve_page):
    """With a token set, no text is tried and no document is sent for those who do not have it."""
    async with serve_page(page_token=TOKEN) as (_, session):
        for path in ("/api/try", "/api/documents"):
            async with session.post(path, json={"text": "Ada", "value": "{}"}) as answer:
                assert answer.status == 401


async def test_guard_takes_the_token_from_a_program(serve_page):
    """A bearer token opens the page, for each request by itself."""
    async with serve_page(page_token=TOKEN) as (_, session):
        async with session.get("/api/about", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200
        async with session.get("/api/about") as answer:
            assert answer.status == 401


async def test_guard_login_gives_a_cookie_that_scripts_cannot_read(serve_page, monkeypatch):
    """The right token opens the page for this browser; a wrong one does not."""
    monkeypatch.setattr("stream.worker.page.guard._WRONG_TOKEN_PAUSE", 0.0)
    async with serve_page(page_token=TOKEN) as (_, session):
        for wrong in ("wrong", None, 7, TOKEN + " ", "ö\ud800"):
            async with session.post("/api/login", json={"token": wrong}) as answer:
                assert (answer.status, answer.cookies) == (403, {})
        async with session.post("/api/login", json={"token": TOKEN}) as answer:
            cookie = answer.cookies["padellm_page"]
            assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
            assert TOKEN not in cookie.value
        # aiohttp keeps no cookies for an address without a name.
        async with session.get("/api/about", cookies={"padellm_page": cookie.value}) as answer:
            assert answer.status == 200


async def test_guard_cookie_ends_with_the_token(serve_page, tmp_path):
    """A new token in the file closes the page for those who logged in with the old one."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with serve_page(page_token_file=file) as (_, session):
        async with session.post("/api/login", json={"token": TOKEN}) as answer:
            cookies = {"padellm_page": answer.cookies["padellm_page"].value}
        file.write_text("another long token")
        async with session.get("/api/about", cookies=cookies) as answer:
            assert answer.status == 401


async def test_guard_new_token_ends_open_pages(serve_page, tmp_path, monkeypatch):
    """A page that is open when the token changes gets nothing more."""
    monkeypatch.setattr("stream.worker.page.server._INTERVAL", 0.01)
    file = tmp_path / "token"
    file.write_text(TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        serve_page(page_token_file=file) as (_, session),
        session.get("/api/stream", headers=headers) as answer,
    ):
        assert answer.status == 200
        file.write_text("another long token")
        async with asyncio.timeout(5):
            await answer.content.read()


async def test_guard_is_closed_while_its_token_cannot_be_read(serve_page, tmp_path):
    """Without its file, or with one of a few characters, the page lets nobody in, and does not start."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with serve_page(page_token_file=file) as (_, session):
        for content in ("", "short"):
            file.write_text(content)
            async with session.get("/api/about", headers=headers) as answer:
                assert answer.status == 503
        with pytest.raises(ConfigurationError, match="PADELLM_PAGE_TOKEN_FILE"):
            async with serve_page(page_token_file=file):
                pass


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_guard_refuses_what_another_site_sends(serve_page, path, headers):
    """A page of another site cannot make a visitor's browser send anything (CSRF), logged in or not."""
    given = {"Authorization": f"Bearer {TOKEN}", **headers}
    async with (
        serve_page(page_token=TOKEN) as (_, session),
        session.post(path, json={}, headers=given) as answer,
    ):
        assert answer.status == 403


async def test_guard_refuses_what_a_form_can_send(serve_page):
    """Types that a form of another site may send without asking are refused, also without its headers."""
    async with serve_page() as (_, session):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            headers = {"Content-Type": kind}
            async with session.post("/api/documents", data=b'{"value": "x"}', headers=headers) as answer:
                assert answer.status == 415


async def test_guard_takes_what_its_own_page_sends(serve_page):
    """The headers of the page's own requests pass."""
    async with serve_page() as (_, session):
        own = str(session._base_url).rstrip("/")
        headers = {"Origin": own, "Sec-Fetch-Site": "same-origin"}
        async with session.post("/api/try", json={"text": "Ada"}, headers=headers) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("path", [*READS, *FILES])
async def test_guard_refuses_another_name_for_this_address(serve_page, path):
    """Without a token, a name of another site that points at loopback (DNS rebinding) gets nothing."""
    async with serve_page() as (_, session):
        async with session.get(path, headers={"Host": "evil.example:8089"}) as answer:
            assert answer.status == 403
        for host in ("localhost:9", "127.0.0.1", "[::1]:8089"):
            if path == "/api/stream":
                continue
            async with session.get(path, headers={"Host": host}) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("path", [*FILES, "/api/about", "/api/stream", "/nowhere"])
async def test_guard_policy_is_on_every_answer(serve_page, path):
    """Every answer forbids scripts in documents, strings as HTML, frames, and anything from elsewhere."""
    async with serve_page() as (_, session), session.get(path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == "'self'"
        assert rules["require-trusted-types-for"] == "'script'"
        assert rules["frame-ancestors"] == "'none'"
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_guard_compares_in_constant_time(serve_page, monkeypatch):
    """Tokens are compared as digests of one length, and by the function that takes the same time for all."""
    compared = []

    def compare(one, other):
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("stream.worker.page.guard.hmac.compare_digest", compare)
    headers = {"Authorization": "Bearer short"}
    async with (
        serve_page(page_token=TOKEN) as (_, session),
        session.get("/api/about", headers=headers) as answer,
    ):
        assert answer.status == 401
    assert {len(one) for one, _ in compared[:1]} == {len(other) for _, other in compared[:1]} == {64}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"page_host": "0.0.0.0"}, "PADELLM_PAGE_HOST=0.0.0.0 .* PADELLM_PAGE_TOKEN"),
        ({"page_token": "short"}, "PADELLM_PAGE_TOKEN has fewer than 16"),
        ({"page_token": TOKEN, "page_token_file": "x"}, "are both set"),
    ],
)
def test_guard_settings_that_would_open_the_page_are_refused(options, words):
    """No page is reachable from other machines without a token that cannot be guessed."""
    with pytest.raises(ValidationError, match=words):
        Settings(**options)


def test_guard_settings_with_a_token_may_be_reachable():
    """With a token the page may listen on any address."""
    assert Settings(page_host="0.0.0.0", page_token=TOKEN).page_host == "0.0.0.0"
