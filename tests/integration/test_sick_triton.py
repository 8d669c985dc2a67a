"""The worker that ships, on a real broker, against a model server that falls ill.

``SICK_SECONDS=60 SICK_DOCUMENTS=2000`` makes the illness as long as it is in earnest.
"""

import asyncio
import json
import logging
import os
import time
from pathlib import Path

import pytest

from tests.integration.ill_triton import EXECUTOR_FAILED, ill_server
from tests.integration.worker_fixture import REAL, Bench, event_ids

_log = logging.getLogger(__name__)
pytestmark = pytest.mark.integration

_SICK_SECONDS = float(os.environ.get("SICK_SECONDS", "4"))
_SICK_DOCUMENTS = int(os.environ.get("SICK_DOCUMENTS", "200"))


async def test_sick_triton_loses_nothing_and_makes_no_dead_letter(bench: Bench, tiny_model: Path):
    """A server that answers `Executor failed ...` under load and recovers: each document has its event."""
    async with ill_server(tiny_model) as (illness, triton):
        worker = bench.start_worker(REAL, triton_url=triton.url)
        await worker.is_ready()
        await bench.produce(*(f"Ada{n} wrote" for n in range(_SICK_DOCUMENTS)))
        await bench.outcomes(lambda records: len(records) >= _SICK_DOCUMENTS // 20)
        illness.words = EXECUTOR_FAILED
        began = time.monotonic()
        while (await worker.page("/readyz"))[0] != 503:
            assert time.monotonic() < began + 10
            await asyncio.sleep(0.05)
        noticed = time.monotonic() - began
        await asyncio.sleep(max(0.0, _SICK_SECONDS - noticed))
        assert (await worker.page("/livez"))[0] == 200
        assert (await worker.page("/readyz"))[0] == 503
        await worker.until_metric('padellm_breaker_state{state="closed"}', 0)
        done = await worker.metric('padellm_documents_total{outcome="event"}')
        assert done < _SICK_DOCUMENTS
        illness.words = None
        well = time.monotonic()
        while await worker.metric('padellm_documents_total{outcome="event"}') == done:
            assert time.monotonic() < well + 30
            await asyncio.sleep(0.05)
        resumed = time.monotonic() - well
        retries = await worker.metric('padellm_retries_total{of="model"}')
        while await worker.metric('padellm_documents_total{outcome="event"}') < _SICK_DOCUMENTS:
            assert time.monotonic() < well + 60 + _SICK_DOCUMENTS / 5, await worker.page("/readyz")
            await asyncio.sleep(0.2)
        records = await bench.outcomes(lambda records: len(records) >= _SICK_DOCUMENTS)
        await bench.until_committed({p: end for p, end in (await bench.ends()).items() if end})
        await worker.is_ready()
    ids = event_ids(records, bench.settings.entities_topic)
    assert set(ids) == {f"doc-{number}" for number in range(_SICK_DOCUMENTS)}
    assert [record for record in records if record.topic == bench.settings.dead_letters_topic] == []
    _log.info(
        "sick for %.0f s, noticed after %.1f s; the next event %.1f s after the recovery; %d events, "
        "%d repeats, 0 dead letters; before the recovery %d of %d documents; %d retries",
        *(_SICK_SECONDS, noticed, resumed, len(records), len(records) - len(ids)),
        *(done, _SICK_DOCUMENTS, retries),
    )


async def test_sick_triton_documents_refused_alike_wait(bench: Bench, tiny_model: Path):
    """Unknown words for all documents are an outage, too: an alarm, and no dead letter after the recovery."""
    async with ill_server(tiny_model) as (illness, triton):
        worker = bench.start_worker(REAL, triton_url=triton.url, max_in_flight=8)
        await worker.is_ready()
        illness.words = "something is wrong"
        await bench.produce(*(f"Ada{n} wrote" for n in range(30)))
        deadline = time.monotonic() + 20
        while await worker.metric("padellm_refused_alike") < 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        status, page = await worker.page("/readyz")
        assert (status, "something is wrong" in page) == (503, True)
        illness.words = None
        records = await bench.outcomes(lambda records: len(records) >= 30)
    assert {record.topic for record in records} == {bench.settings.entities_topic}
    assert "documents refused alike" in {line["event"] for line in worker.lines()}


async def test_sick_triton_dies_of_one_document(bench: Bench, tiny_model: Path):
    """A document that kills the server is a dead letter after a few deaths, and all others are events."""
    async with ill_server(tiny_model) as (illness, triton):
        worker = bench.start_worker(REAL, triton_url=triton.url)
        await worker.is_ready()
        texts = [f"Ada{n} wrote" for n in range(60)]
        texts[20] = "Ada20 KILL"
        await bench.produce(*texts)
        records = await bench.outcomes(lambda records: len(records) >= 60)
        deaths = illness.deaths
    letters = [record for record in records if record.topic == bench.settings.dead_letters_topic]
    assert [json.loads(letter.value)["id"] for letter in letters] == ["doc-20"]
    headers = dict(letters[0].headers)
    assert headers["padellm.reason"] == b"inference_crash"
    assert b"on this document alone" in headers["__dlq.errors.message"]
    assert len(event_ids(records, bench.settings.entities_topic)) == 59
    assert deaths <= 10
