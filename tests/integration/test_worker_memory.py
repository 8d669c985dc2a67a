"""The worker's memory while large documents wait. On a real broker."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from tests.integration.worker_fixture import Bench, WorkerProcess

pytestmark = pytest.mark.integration
_MEBIBYTE = 1024 * 1024
_DOCUMENTS = 40
_SIZE = 2 * _MEBIBYTE


def _peak(worker: WorkerProcess) -> int:
    """Largest resident memory of the worker so far, in bytes."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


async def test_worker_memory_is_bounded_with_large_documents(bench: Bench, tmp_path: Path):
    """Large documents behind a bound in bytes: few are in flight, and memory has an end."""
    flag = tmp_path / "go"
    worker = bench.start_worker(max_in_flight_bytes=4 * _SIZE)
    await worker.is_ready()
    before = _peak(worker)
    async with bench.producer() as producer:
        for number in range(_DOCUMENTS):
            value = json.dumps({"id": f"doc-{number}", "text": f"Ada WAIT-FOR {flag}"}).encode()
            await producer.send_and_wait(
                bench.settings.documents_topic, value.ljust(_SIZE), partition=number % 4
            )
    deadline = time.monotonic() + 60
    while await worker.metric("padellm_in_flight") < 4:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert await worker.metric("padellm_in_flight_bytes") == 4 * _SIZE
    flag.touch()
    records = await bench.outcomes(lambda records: len(records) >= _DOCUMENTS)
    assert {record.topic for record in records} == {bench.settings.entities_topic}
    assert await worker.metric("padellm_rebalances_total") == 1
    # Four in flight, those fetched ahead, and copies of each while it is read.
    assert _peak(worker) - before < _DOCUMENTS * _SIZE
