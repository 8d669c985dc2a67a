"""The worker's pages."""

from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession

from stream.errors import ConfigurationError
from stream.settings import Settings
from stream.worker.endpoints import HealthPages, health_server
from stream.worker.health_state import Outage, Vitals


@pytest.fixture
def vitals(telemetry):
    """A worker that has just started."""
    return Vitals(model=Outage("model", telemetry), broker=Outage("broker", telemetry))


@asynccontextmanager
async def _serving(vitals, telemetry, **options):
    pages = HealthPages(Settings(**options), vitals, telemetry)
    async with health_server(pages, "127.0.0.1", 0) as address, ClientSession(address) as session:
        yield session


async def test_health_ready_says_what_is_missing(vitals, telemetry):
    """503 with the causes until broker and model answer and partitions are handed out; then 200."""
    async with _serving(vitals, telemetry) as session:
        async with session.get("/readyz") as answer:
            assert answer.status == 503
            assert set(await answer.json()) == {"ok", "model", "broker", "group"}
        vitals.model.ended()
        vitals.broker.ended()
        vitals.joined = True
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True})


async def test_health_live_says_what_is_stuck(vitals, telemetry):
    """503 with a reason when work waits and nothing moves."""
    vitals.model.ended()
    vitals.broker.ended()
    async with _serving(vitals, telemetry, stall_limit=1e-9) as session, session.get("/livez") as answer:
        assert answer.status == 503
        assert "no partitions" in (await answer.json())["why"]
    async with _serving(vitals, telemetry) as session, session.get("/livez") as answer:
        assert answer.status == 200


async def test_health_shows_metrics_and_version(vitals, telemetry):
    """Prometheus' text and the version are there."""
    async with _serving(vitals, telemetry) as session:
        async with session.get("/metrics") as answer:
            assert "padellm_in_flight 0.0" in await answer.text()
        async with session.get("/version") as answer:
            assert (await answer.json())["name"] == "padellm-stream"


async def test_health_says_when_its_port_is_taken(vitals, telemetry):
    """The message names the address and the setting."""
    pages = HealthPages(Settings(), vitals, telemetry)
    async with health_server(pages, "127.0.0.1", 0) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}.*PADELLM_HEALTH_PORT"):
            async with health_server(pages, "127.0.0.1", port):
                pass
