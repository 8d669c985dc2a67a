"""What the page tells."""

import asyncio
import json
import re

import pytest

from stream.errors import ConfigurationError
from stream.worker.page.server import Page, page_server
from tests.worker.page.test_feed import EMOJI, _entity, _event, _letter

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \"'&`\u2028\r\n\r\nevent: figures\r\ndata: {}"
)


async def _events(session, count: int, headers: dict[str, str] | None = None) -> list[tuple[str, object]]:
    """The first server-sent events of a new stream."""
    found, fields = [], {}
    async with asyncio.timeout(10), session.get("/api/stream", headers=headers) as answer:
        assert answer.content_type == "text/event-stream"
        async for line in answer.content:
            text = line.decode().removesuffix("\n")
            if text:
                name, _, value = text.partition(": ")
                fields[name] = value
                continue
            found.append((fields["event"], json.loads(fields["data"])))
            fields = {}
            if len(found) == count:
                break
    return found


async def test_page_shows_state_and_samples(serve_page, health, metrics):
    """The first write has the whole state, and the samples that are kept."""
    health.broker.worked("probe")
    metrics.lag("docs", 0, 5)
    async with serve_page() as (page, session):
        page.feed.watch(_event("doc", EMOJI, _entity(EMOJI, "Köln")))
        page.feed.watch(_letter())
        (_, figures), (_, samples) = await _events(session, 2)
    assert figures["parts"] == {"broker": None, "model": "not reached yet"}
    assert figures["lag"] == {"docs/0": 5}
    assert figures["milliseconds"]["p99"] > 0
    assert [sample["kind"] for sample in samples] == ["event", "dead_letter"]
    assert samples[1]["reason"] == "not_json"


async def test_page_continues_after_the_last_sample_that_a_browser_has(serve_page):
    """A browser that comes back names the last event it had, and gets what came since."""
    async with serve_page() as (page, session):
        for name in ("a", "b", "c"):
            page.feed.watch(_event(name))
        events = await _events(session, 2, {"Last-Event-ID": "2"})
    assert [sample["id"] for sample in events[1][1]] == ["c"]


async def test_page_keeps_hostile_text_inside_one_event(serve_page):
    """Line ends and markup in a document, its id, a label and a dead letter stay data of one JSON value."""
    async with serve_page() as (page, session):
        page.feed.watch(_event(HOSTILE, HOSTILE, _entity(HOSTILE, "alert", HOSTILE)))
        page.feed.watch(_letter("k", HOSTILE, HOSTILE.encode()))
        events = await _events(session, 3)
    assert [name for name, _ in events] == ["figures", "samples", "figures"]
    event, letter = events[1][1]
    assert event["texts"][0]["text"] == event["id"] == letter["message"] == letter["value"] == HOSTILE


async def test_page_bounds_its_readers(serve_page, monkeypatch):
    """More open pages than the bound are refused, and one that closes makes room."""
    monkeypatch.setattr("stream.worker.page.server._READERS", 1)
    monkeypatch.setattr("stream.worker.page.server._INTERVAL", 0.01)
    async with serve_page() as (_, session):
        async with session.get("/api/stream") as first:
            assert first.status == 200
            async with session.get("/api/stream") as second:
                assert second.status == 503
        async with asyncio.timeout(5):
            while (again := await session.get("/api/stream")).status == 503:
                again.release()
                await asyncio.sleep(0.02)
        again.close()


async def test_page_that_does_not_read_holds_nobody_up(serve_page, monkeypatch):
    """Records are taken over at once while an open page reads nothing, and the buffers keep their bounds."""
    monkeypatch.setattr("stream.worker.page.server._INTERVAL", 0.001)
    async with serve_page() as (page, session), session.get("/api/stream"):
        loop = asyncio.get_running_loop()
        began, large = loop.time(), "x" * 2_000
        for _ in range(2_000):
            page.feed.watch(_event("doc", large))
            await asyncio.sleep(0)
        assert loop.time() - began < 5
        assert page.feed.kept <= 600


async def test_page_ends_with_the_worker(serve_page):
    """Open pages do not hold a worker that stops."""
    async with asyncio.timeout(5):
        async with serve_page() as (_, session):
            answer = await session.get("/api/stream")
        answer.close()


async def test_page_finds_a_document_by_its_id(serve_page):
    """The search answers with the samples of the id, and the number of those looked at."""
    async with serve_page() as (page, session):
        for name in ("note-1", "note-2"):
            page.feed.watch(_event(name))
        async with session.get("/api/documents", params={"id": "note-2"}) as answer:
            found = await answer.json()
    assert (found["kept"], [one["id"] for one in found["found"]]) == (2, ["note-2"])


async def test_page_tells_a_text_round_by_round(serve_page):
    """The box shows counts, mentions and the entities made of them, with offsets of JavaScript."""
    async with (
        serve_page() as (_, session),
        session.post("/api/try", json={"text": "Ada met Bo", "labels": ["person", "place"]}) as answer,
    ):
        told = await answer.json()
    counts, mentions = told["rounds"]
    assert [(one["label"], one["answer"]) for one in counts["answers"]] == [("person", "1"), ("place", "0")]
    (mention,) = mentions["answers"]
    (start, end, label, _) = told["text"]["entities"][0]
    assert told["text"]["text"][start:end] == mention["answer"] == told["entities"][0]["text"]
    assert label == "person"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"text": ""}, "at least 1 character"),
        ({"text": "x" * 2_001}, "at most 2,000"),
        ({"text": 7}, "string"),
        ({"text": "Ada", "labels": ["a"] * 2}, "the same"),
        ({"text": "Ada", "labels": [str(number) for number in range(65)]}, "65 labels"),
    ],
)
async def test_page_says_why_a_text_is_refused(serve_page, asked, words):
    """A text or label that no document may have is refused with the reason."""
    async with serve_page() as (_, session), session.post("/api/try", json=asked) as answer:
        assert answer.status == 422
        assert re.search(words, (await answer.json())["error"])


async def test_page_tries_one_text_at_a_time(serve_page):
    """A second text is refused while one is tried: visitors share the model with the stream."""
    async with (
        serve_page() as (page, session),
        page.trial._one_at_a_time,
        session.post("/api/try", json={"text": "Ada"}) as answer,
    ):
        assert (answer.status, "another text" in await answer.text()) == (422, True)


async def test_page_contract_names_the_topics_of_this_worker(serve_page):
    """The AsyncAPI document is whole, without references to other files, and has the effective topics."""
    async with (
        serve_page(documents_topic="tickets") as (_, session),
        session.get("/api/contract") as answer,
    ):
        text = await answer.text()
    contract = json.loads(text)
    assert contract["channels"]["documents"]["address"] == "tickets"
    assert contract["components"]["messages"]["document"]["payload"]["schema"]["title"] == "Document"
    assert "./document.schema.json" not in text


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"1", b"\xff"])
async def test_page_refuses_what_is_no_object(serve_page, body):
    """A body that is no JSON object is answered with 400."""
    headers = {"Content-Type": "application/json"}
    async with serve_page() as (_, session):
        for path in ("/api/try", "/api/documents"):
            async with session.post(path, data=body, headers=headers) as answer:
                assert answer.status == 400


async def test_page_says_that_no_broker_takes_a_document(serve_page):
    """Sending without a broker is answered with the address and the cause."""
    async with (
        serve_page(broker="127.0.0.1:1") as (_, session),
        session.post("/api/documents", json={"value": "{}"}) as answer,
    ):
        assert answer.status == 502
        assert "127.0.0.1:1" in (await answer.json())["error"]


async def test_page_port_that_is_taken_is_named(serve_page, health, metrics):
    """The message names the address and the setting."""
    async with serve_page() as (page, session):
        port = session._base_url.port
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}.*PADELLM_PAGE_PORT"):
            async with page_server(Page(page._settings, health, metrics), "127.0.0.1", port):
                pass


async def test_page_files_load_nothing_from_elsewhere(serve_page):
    """The files name no other host, and hold no script or style within the HTML."""
    async with serve_page() as (_, session):
        texts = {}
        for path in ("/", "/page.js", "/page.css"):
            async with session.get(path) as answer:
                assert answer.status == 200
                texts[path] = await answer.text()
    without_comments = re.sub(r"^\s*//.*$", "", "".join(texts.values()), flags=re.MULTILINE)
    assert not re.search(r"(https?:)?//[a-z]", without_comments)
    assert not re.search(r"<script>|<style|\son[a-z]+=|\sstyle=|javascript:", texts["/"])
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in texts["/page.js"]
