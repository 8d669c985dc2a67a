"""The worker that ships, on a real broker and a real Triton."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.integration.worker_fixture import REAL, Bench, event_ids

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("way", "seconds"), [("stop", 20), ("kill", 5)])
async def test_worker_triton_away_under_load_loses_nothing(
    bench: Bench, private_triton: Any, tiny_checkpoint: Path, way: str, seconds: float
):
    """Triton goes under load, orderly or at once, and comes back: every document has its event."""
    worker = bench.start_worker(REAL, triton_url=private_triton.url, model=tiny_checkpoint, max_in_flight=8)
    await worker.is_ready()
    await bench.produce(*(f"Ada{n} wrote the first program." for n in range(200)))
    await bench.outcomes(lambda records: len(records) >= 20)
    await asyncio.to_thread(getattr(private_triton, way))
    await asyncio.sleep(seconds)
    assert (await worker.page("/readyz"))[0] == 503
    assert (await worker.page("/livez"))[0] == 200
    assert await worker.metric("padellm_in_flight") == 8
    assert await worker.metric('padellm_part_up{part="model"}') == 0
    await asyncio.to_thread(private_triton.start)
    records = await bench.outcomes(lambda records: len(records) >= 200)
    ids = event_ids(records, bench.settings.entities_topic)
    assert set(ids) == {f"doc-{number}" for number in range(200)}
    assert len(records) == 200
    await worker.is_ready()
    assert await worker.metric('padellm_breaker_state{state="closed"}') == 1
