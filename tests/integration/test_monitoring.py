"""The dashboard and the alerts, asked of a real Prometheus that scrapes a real worker."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from stream.local.ports import free_ports
from tests.integration.worker_fixture import Bench

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed"),
]

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
PATIENCE = 60
# The scripted model is one, without circuit breaker and shadow, and nothing is published twice.
NOT_MET = (
    "padellm_breaker_state",
    "padellm_repeats_total",
    "padellm_server_up",
    "padellm_server_tries_total",
    "padellm_shadow_total",
)


class Prometheus:
    """A running Prometheus at a port of this machine."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1"

    async def has_numbers(self, expression: str) -> bool:
        """Whether an expression has at least one sample that is a number."""
        result = (await self._ask("query", query=expression)).get("result", ())
        return any(sample["value"][1] != "NaN" for sample in result)

    async def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = (await self._ask("alerts")).get("alerts", ())
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            await asyncio.sleep(0.5)

    async def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        try:
            async with (
                ClientSession() as session,
                session.get(f"{self._api}/{what}", params=parameters) as answer,
            ):
                return (await answer.json())["data"] if answer.status == 200 else {}
        except OSError:  # it is starting
            return {}


@pytest.fixture
def prometheus(bench: Bench, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus with the alerts, which looks every second at a worker of the bench."""
    (port,) = free_ports(1)
    target = {"targets": [bench.start_worker().health.removeprefix("http://")]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(FOLDER / "alerts.yml")],
        "scrape_configs": [{"job_name": "padellm-worker", "static_configs": [target]}],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    options = ["--config.file=prometheus.yml", f"--storage.tsdb.path={tmp_path}/data", "--log.level=error"]
    command = ["prometheus", *options, f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, cwd=tmp_path) as server:
        yield Prometheus(port)
        server.terminate()


async def test_monitoring_panels_and_alerts_follow_a_running_worker(bench: Bench, prometheus: Prometheus):
    """Every panel has data of a running worker; an alert fires once its cause has happened, not before."""
    await bench.workers[0].is_ready()
    await bench.produce("Ada met Alan.", "Ada REJECT")
    await bench.outcomes(lambda records: len(records) == 2)
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    expressions = {target["expr"] for panel in panels for target in panel["targets"]}
    expressions = {each for each in expressions if not any(name in each for name in NOT_MET)}
    for expression in expressions:
        await prometheus.until(lambda each=expression: prometheus.has_numbers(each), expression)
    assert await prometheus.firing() == set()
    await bench.produce("Ada FAULT")

    async def fires() -> bool:
        return await prometheus.firing() == {"PadellmInternalErrors"}

    await prometheus.until(fires, "the alert")
