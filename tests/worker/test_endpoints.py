"""HTTP endpoints of the worker."""

from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError

import pytest
from aiohttp import ClientSession

from stream.errors import ConfigurationError
from stream.worker.endpoints import HealthEndpoints, health_server
from stream.worker.progress import Delay


@asynccontextmanager
async def _serving(health, metrics):
    endpoints = HealthEndpoints(health, metrics)
    async with health_server(endpoints, "127.0.0.1", 0) as address, ClientSession(address) as session:
        yield session


async def _get(session, path: str) -> tuple[int, dict]:
    async with session.get(path) as answer:
        return answer.status, await answer.json()


async def test_health_ready_names_each_cause(health, metrics):
    """503 with the causes until broker and model work and partitions are assigned; then 200."""
    async with _serving(health, metrics) as session:
        status, causes = await _get(session, "/readyz")
        assert (status, set(causes)) == (503, {"ok", "model", "broker", "group"})
        health.model.worked("probe")
        health.broker.worked("probe")
        health.joined = True
        assert await _get(session, "/readyz") == (200, {"ok": True})
        health.missing_topic = "documents"
        status, causes = await _get(session, "/readyz")
        assert (status, causes["topic"]) == (
            503,
            "documents does not exist: create it with padellm topics",
        )


async def test_health_live_names_the_stall(health, metrics, monkeypatch):
    """503 with a reason when work waits and nothing moves."""
    health.model.worked("probe")
    health.broker.worked("probe")
    async with _serving(health, metrics) as session:
        assert (await _get(session, "/livez"))[0] == 200
        monkeypatch.setattr("stream.worker.health_state.STALL_LIMIT", 1e-9)
        status, answer = await _get(session, "/livez")
        assert status == 503
        assert "no partitions" in answer["why"]


async def test_health_live_names_outages(health, metrics):
    """An outage leaves the worker alive, and its cause is named."""
    health.model.worked("probe")
    health.broker.failed("publish", "topic entities refuses messages")
    async with _serving(health, metrics) as session:
        status, answer = await _get(session, "/livez")
    assert (status, answer["broker"]) == (200, "topic entities refuses messages")


async def test_health_ready_means_progressing(health, metrics):
    """A partition that stands still is named on both pages with place and seconds; /readyz is 503."""
    health.model.worked("probe")
    health.broker.worked("probe")
    health.joined = True
    health.late = [Delay("docs", 3, 17, 42.04, "records are not fetched")]
    named = {
        "topic": "docs",
        "partition": 3,
        "offset": 17,
        "seconds": 42.0,
        "what": "records are not fetched",
    }
    async with _serving(health, metrics) as session:
        status, answer = await _get(session, "/readyz")
        assert (status, answer["late"]) == (503, [named])
        assert answer["progress"] == "docs/3/17: records are not fetched for 42 s"
        status, answer = await _get(session, "/livez")
        assert (status, answer["late"]) == (200, [named])


async def test_health_fatal_cause_fails_both(health, metrics):
    """An engine that broke down fails /livez and /readyz with its cause."""
    health.fatal = "the engine broke down"
    async with _serving(health, metrics) as session:
        status, answer = await _get(session, "/livez")
        assert (status, answer["why"]) == (503, "the engine broke down")
        status, answer = await _get(session, "/readyz")
        assert (status, answer["worker"]) == (503, "the engine broke down")


async def test_health_shows_metrics_and_version(health, metrics):
    """Prometheus' text and the version are there."""
    async with _serving(health, metrics) as session:
        async with session.get("/metrics") as answer:
            assert "padellm_in_flight 0.0" in await answer.text()
        assert (await _get(session, "/version"))[1]["name"] == "padellm-stream"


async def test_health_version_without_a_distribution_is_unknown(health, metrics, monkeypatch):
    """A checkout that was never installed answers 200, with an unknown version."""

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("stream.worker.endpoints.version", version)
    async with _serving(health, metrics) as session:
        assert await _get(session, "/version") == (200, {"name": "padellm-stream", "version": "unknown"})


async def test_health_port_that_is_taken_is_named(health, metrics):
    """The message names the address and the setting."""
    endpoints = HealthEndpoints(health, metrics)
    async with health_server(endpoints, "127.0.0.1", 0) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}.*PADELLM_HEALTH_PORT"):
            async with health_server(endpoints, "127.0.0.1", port):
                pass
