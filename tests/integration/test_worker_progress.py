"""A worker that stands still in one place and goes on in others says so. On a real broker."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from tests.integration.worker_fixture import Bench

pytestmark = pytest.mark.integration
_STUCK = (str(Path(__file__).with_name("stuck_worker.py")),)


async def test_worker_progress_of_a_stuck_document_is_missed(bench: Bench):
    """One document hangs and all others go on: not ready soon, not alive later, with place and seconds."""
    worker = bench.start_worker(_STUCK, document_deadline=1.0)
    await worker.is_ready()
    await bench.produce(*(f"Ada{n}" for n in range(30)), partition=2)
    await bench.outcomes(lambda records: len(records) >= 29)
    place = f"{bench.settings.documents_topic}/2/0: "
    ready = await _failing(worker, "/readyz")
    assert ready["progress"].startswith(place)
    assert (ready["late"][0]["partition"], ready["late"][0]["offset"]) == (2, 0)
    assert ready["late"][0]["seconds"] > 2
    assert (await _failing(worker, "/livez"))["why"].startswith(place)
    labels = f'partition="2",topic="{bench.settings.documents_topic}"'
    assert await worker.metric(f"padellm_stalled_seconds{{{labels}}}") > 7


async def _failing(worker, page: str) -> dict:
    deadline = time.monotonic() + 30
    while (answer := await worker.page(page))[0] != 503:
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.2)
    return json.loads(answer[1])
