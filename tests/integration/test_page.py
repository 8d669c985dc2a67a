"""The page of a worker on a real broker."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientSession

from stream.local.ports import free_ports
from tests.integration.worker_fixture import Bench

pytestmark = pytest.mark.integration


async def test_page_sends_documents_and_shows_what_they_become(bench: Bench):
    """What its form sends shows on the page as an event or a dead letter, as the topics have it."""
    (port,) = free_ports(1)
    worker = bench.start_worker(page=True, page_port=port)
    await worker.is_ready()
    async with ClientSession(f"http://127.0.0.1:{port}") as session:
        sent = {
            await _send(session, "note-1", '{"id": "note-1", "text": "Ada 😀 met Bo"}'): "event",
            await _send(session, "bad", '{"text": 7}'): "dead_letter",
        }
        shown = await _samples(session, len(sent))
        async with session.post("/api/try", json={"text": "Ada wrote", "labels": ["person"]}) as answer:
            told = await answer.json()
    assert {sample["position"]: sample["kind"] for sample in shown} == sent
    (event,) = (sample for sample in shown if sample["kind"] == "event")
    assert event["id"] == "note-1"
    assert event["texts"][0]["entities"][0][:3] == [0, 3, "person"]
    assert told["entities"][0]["text"] == "Ada"
    outcomes = await bench.outcomes(lambda records: len(records) >= len(sent))
    assert {record.topic for record in outcomes} == {
        bench.settings.entities_topic,
        bench.settings.dead_letters_topic,
    }


async def _send(session: ClientSession, key: str, value: str) -> str:
    async with session.post("/api/documents", json={"key": key, "value": value}) as answer:
        assert answer.status == 200
        return (await answer.json())["position"]


async def _samples(session: ClientSession, count: int) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(30), session.get("/api/stream") as answer:
        async for line in answer.content:
            if line.startswith(b"data: ["):
                found += json.loads(line.removeprefix(b"data: "))
            if len(found) >= count:
                break
    return found
