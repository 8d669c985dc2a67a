"""A worker over a real Triton whose model answers amiss, fills up, goes and comes back as another."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc.aio import InferenceServerClient

from stream.contract.reasons import Reason, RemovalReason
from stream.inference.triton import MODEL_NAME
from tests.integration.triton_fixture import MODELS, RunningTriton
from tests.integration.worker_fixture import REAL, Bench, WorkerProcess

pytestmark = pytest.mark.integration
_FULL = "QUEUE-FULL-WHILE", "ENGINE-FULL-WHILE"


@asynccontextmanager
async def _working(bench: Bench, triton: RunningTriton, model: Path) -> AsyncIterator[WorkerProcess]:
    """A worker that has an outcome for each document at the end, and lives."""
    worker = bench.start_worker(REAL, triton_url=triton.url, model=model, max_in_flight=8)
    await worker.is_ready()
    yield worker
    await bench.until_committed({part: end for part, end in (await bench.ends()).items() if end})
    await worker.is_ready()
    assert worker.process.poll() is None


def _found(records: list[Any], bench: Bench) -> dict[str, Any]:
    """What became of each document: texts of entities and reasons of removals, or that of its dead letter."""
    outcomes: dict[str, Any] = {}
    for record in records:
        if record.topic == bench.settings.dead_letters_topic:
            headers = dict(record.headers)
            outcomes[json.loads(record.value)["id"]] = Reason(headers["padellm.reason"].decode())
        else:
            event = json.loads(record.value)
            kept = {entity["text"] for entity in event["entities"]}
            removed = {RemovalReason(each["reason"]) for each in event["removed"]}
            outcomes[event["document_id"]] = kept | removed
    return outcomes


async def test_triton_faults_of_answers_have_their_outcome(
    bench: Bench, scripted_triton: RunningTriton, tiny_checkpoint: Path
):
    """An answer of the wrong shape or with NaN is a dead letter; one without a usable count an event."""
    texts = {
        "ROWS": Reason.INFERENCE_BREACH,
        "NAN": Reason.INFERENCE_BREACH,
        "REJECT": Reason.INFERENCE_REJECTED,
        "NOTHING": {RemovalReason.UNREADABLE_COUNT},
        "MANY": {RemovalReason.UNREADABLE_COUNT},
        "ALIEN": {RemovalReason.UNREADABLE_COUNT},
        "wrote": {"Ada"},
    }
    async with _working(bench, scripted_triton, tiny_checkpoint):
        await bench.produce(*(f"Ada {order}" for order in texts))
        records = await bench.outcomes(lambda records: len(records) >= len(texts))
    expected = {f"doc-{number}": outcome for number, outcome in enumerate(texts.values())}
    assert _found(records, bench) == expected


async def test_triton_faults_that_pass_make_documents_wait(
    bench: Bench, scripted_triton: RunningTriton, tiny_checkpoint: Path, tmp_path: Path
):
    """Full queues, in the words of Triton and of the engine, and an unloaded model: all become events."""
    full = tmp_path / "full"
    full.touch()
    async with _working(bench, scripted_triton, tiny_checkpoint) as worker:
        await bench.produce(*(f"Ada {order} {full}" for order in _FULL for _ in range(10)))
        await _until(lambda: full.stat().st_size > 20)  # one byte a refusal
        assert await bench.committed() == {}
        full.unlink()
        await bench.outcomes(lambda records: len(records) >= 20)
        async with InferenceServerClient(scripted_triton.url) as triton:
            await triton.unload_model(MODEL_NAME)
            await bench.produce(*["Ada wrote"] * 10)
            while (await worker.page("/readyz"))[0] != 503:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
            await triton.load_model(MODEL_NAME)
        records = await bench.outcomes(lambda records: len(records) >= 30)
    assert len(records) == 30
    assert {record.topic for record in records} == {bench.settings.entities_topic}


async def test_triton_faults_restart_with_another_model_gives_its_answers(
    bench: Bench, scripted_triton: RunningTriton, tiny_checkpoint: Path
):
    """Killed under load and back with another model, the server answers the rest; all become events."""
    async with _working(bench, scripted_triton, tiny_checkpoint):
        await bench.produce(*["Ada SLEEP 0.05"] * 100)
        await bench.outcomes(lambda records: len(records) >= 20)
        await asyncio.to_thread(scripted_triton.kill)
        model = scripted_triton.service.models / MODEL_NAME / "1" / "model.py"
        model.unlink()
        model.symlink_to(MODELS / MODEL_NAME / "1" / "model.py")
        await asyncio.to_thread(scripted_triton.start)
        records = await bench.outcomes(lambda records: len(records) >= 100)
    assert len(records) == 100
    assert {record.topic for record in records} == {bench.settings.entities_topic}
    assert {str(each) for each in _found(records, bench).values()} != {"{'Ada'}"}


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.05)
