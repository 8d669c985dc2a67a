"""A document's trace from its producer through both rounds, with Triton's own spans in it, to the event."""

import asyncio
import json
from pathlib import Path

import pytest

from stream.local.reaper import Reaper
from stream.local.triton import TritonServer, why_unavailable
from tests.integration.otel_collector import PROGRAM, collecting
from tests.integration.triton_fixture import RunningTriton
from tests.integration.worker_fixture import REAL, Bench
from tests.otlp_receiver import OtlpReceiver, ReceivedSpan, receiving

pytestmark = pytest.mark.integration

LABELS = [f"kind {number}" for number in range(8)]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def receiver():
    """An OTLP receiver over HTTP."""
    with receiving() as one:
        yield one


@pytest.fixture(params=["directly", "through a collector"])
def exported_to(request: pytest.FixtureRequest, tmp_path: Path, receiver: OtlpReceiver):
    """The base address that spans are exported to: the receiver's, or that of a real collector before it."""
    if request.param == "directly":
        yield receiver.url
        return
    if PROGRAM is None:
        pytest.skip("otelcol (an OpenTelemetry Collector) is not installed")
    with collecting(tmp_path, receiver.url) as url:
        yield url


@pytest.fixture
def traced_triton(tmp_path: Path, tiny_checkpoint: Path, exported_to: str):
    """A server that exports its own spans."""
    if reason := why_unavailable():
        pytest.skip(reason)

    class TracedTriton(TritonServer):
        def command(self) -> list[str]:
            options = (
                "mode=opentelemetry",
                f"opentelemetry,url={exported_to}/v1/traces",
                "opentelemetry,resource=service.name=triton",
                "opentelemetry,bsp_schedule_delay=200",
                "rate=1",
                "level=TIMESTAMPS",
            )
            return [*super().command(), *(f"--trace-config={option}" for option in options)]

    with Reaper() as reaper:
        server = RunningTriton(tmp_path / "triton", tiny_checkpoint, reaper, kind=TracedTriton)
        try:
            server.start()
            yield server
        finally:
            server.stop()


async def test_traces_join_producer_worker_and_triton(
    bench: Bench,
    traced_triton: RunningTriton,
    tiny_checkpoint: Path,
    receiver: OtlpReceiver,
    exported_to: str,
):
    """One trace holds the producer's id, the worker's steps and Triton's requests; the event hands it on."""
    worker = bench.start_worker(
        REAL, triton_url=traced_triton.url, model=tiny_checkpoint, otlp_endpoint=exported_to
    )
    await worker.is_ready()
    async with bench.producer() as producer:
        await producer.send_and_wait(
            bench.settings.documents_topic,
            json.dumps({"text": "Ada wrote the first program.", "labels": LABELS}).encode(),
            key=b"a",
            headers=[("traceparent", f"00-{TRACE}-{PARENT}-01".encode())],
        )
    (event,) = await bench.outcomes(lambda records: len(records) >= 1)
    assert worker.terminate() == 0  # exports what is left
    root = f"process {bench.settings.documents_topic}"
    await asyncio.to_thread(receiver.until, lambda spans: any(one.name == root for one in spans))
    spans = [one for one in receiver.spans if one.trace == TRACE]
    steps = {one.name: one for one in spans if one.service == "padellm-worker"}
    whole = steps[root]
    assert whole.parent == PARENT
    assert {"decode", "count", "publish"} <= steps.keys()
    assert {one.parent for one in steps.values()} - {PARENT} == {whole.span}

    def requests(spans: list[ReceivedSpan]) -> int:
        """Triton's own spans below the worker's round of counts; Triton exports each when it pleases."""
        return sum(one.service == "triton" and one.parent == steps["count"].span for one in spans)

    # Triton itself loses the parent of about one request in fifteen, which then begins a trace.
    await asyncio.to_thread(receiver.until, lambda spans: requests(spans) > len(LABELS) / 2)
    await asyncio.to_thread(traced_triton.stop)
    assert requests(receiver.spans) <= len(LABELS)
    headers = [value.decode() for name, value in event.headers if name == "traceparent"]
    assert headers == [f"00-{TRACE}-{whole.span}-01"]
