"""Life of a worker before and beside Kafka."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from faust.types import TP

from stream.errors import InferenceStopped
from stream.settings import Inference, Settings
from stream.worker.app import WorkerService, _faust_app
from stream.worker.model import make_generator

_SLOW_TO_LOAD = """
import asyncio, time
from stream.settings import Settings
from stream.worker.app import run
async def make(*_):
    print("loading", flush=True)
    await asyncio.to_thread(time.sleep, 60)
run(Settings(health_port=0), make=make)
"""


async def test_app_model_loads_beside_the_event_loop(metrics, monkeypatch):
    """While the engine loads, the event loop serves the health endpoints and signals."""
    monkeypatch.setattr(
        "stream.inference.in_process.InProcessGenerator.load", lambda *_, **__: time.sleep(0.5)
    )
    loading = asyncio.create_task(
        make_generator(Settings(inference=Inference.IN_PROCESS), Path("model"), metrics)
    )
    turns = 0
    while not loading.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 10


def test_app_signal_while_the_model_loads_ends_the_process():
    """SIGTERM does not wait for a model that loads: nothing is in flight."""
    with subprocess.Popen([sys.executable, "-c", _SLOW_TO_LOAD], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


async def test_app_model_that_is_gone_for_good_is_fatal(served, model, monkeypatch):
    """An engine that broke down is not waited for: the worker ends, and its health names the cause."""

    async def ready() -> bool:
        raise InferenceStopped("the engine broke down")

    monkeypatch.setattr(model, "ready", ready)
    worker = WorkerService(Settings())
    with pytest.raises(InferenceStopped):
        await worker._probe(served)
    assert worker.health.stalled() == "the engine broke down"


async def test_app_waits_for_committed_offsets_longer_than_any_request(monkeypatch):
    """A partition without a leader is waited for: at its bound Faust's recovery ends for good."""
    app = _faust_app(Settings(), intake=None)
    app.consumer = SimpleNamespace(
        assignment=lambda: {TP("docs", 0)}, resume_partitions=lambda _: None, perform_seek=lambda: None
    )
    bounds = []

    async def wait(_seek, **bound):
        bounds.append(bound["timeout"])
        raise RuntimeError("seen enough")

    monkeypatch.setattr(app.tables.recovery, "_wait", wait)
    with pytest.raises(RuntimeError, match="seen enough"):
        await app.tables.recovery._resume_streams(app.consumer_generation_id)
    assert bounds == [7 * 24 * 3600]
