"""A real Prometheus over the workers of a test, with the alerts of the service in a hurry."""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import ClientSession

from stream.local.ports import free_ports

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
_PATIENCE = 300.0  # on a busy machine
# Thresholds that take minutes or a thousand documents to reach, and what a test reaches in seconds.
_HURRIED = {"> 300": "> 2", "> 1000": "> 20", "> 10": "> 0"}


def hurried_rules() -> dict[str, Any]:
    """The alerts without their times of waiting (``promtool`` tests those) and with low thresholds."""
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
    for rule in rules["groups"][0]["rules"]:
        rule.pop("for", None)
        rule["expr"] = re.sub(r"> \d+\b", lambda found: _HURRIED.get(found[0], found[0]), rule["expr"])
    return dict(rules)


class Prometheus:
    """A running Prometheus.

    Args:
        port: Its own.
        targets: File of the addresses that it scrapes.
    """

    def __init__(self, port: int, targets: Path) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1"
        self._targets = targets
        self._addresses: list[str] = []

    def watch(self, health: str) -> None:
        """Scrape one more worker, by the address of its health pages."""
        self._addresses.append(health.removeprefix("http://"))
        written = self._targets.with_suffix(".new")
        written.write_text(json.dumps([{"targets": self._addresses}]))
        written.rename(self._targets)

    async def has_numbers(self, expression: str) -> bool:
        """Whether an expression has at least one sample that is a number."""
        result = (await self._ask("query", query=expression)).get("result", ())
        return any(sample["value"][1] != "NaN" for sample in result)

    async def takes(self, expression: str) -> bool:
        """Whether an expression can be answered, with data or without."""
        return (await self._ask("query", query=expression)).get("resultType") == "vector"

    async def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = (await self._ask("alerts")).get("alerts", ())
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + _PATIENCE
        while not await condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}; firing: {await self.firing()}"
            await asyncio.sleep(0.5)

    async def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        try:
            async with (
                ClientSession() as session,
                session.get(f"{self._api}/{what}", params=parameters) as answer,
            ):
                return dict((await answer.json())["data"]) if answer.status == 200 else {}
        except OSError:  # it is starting
            return {}


@contextmanager
def running_prometheus(folder: Path) -> Iterator[Prometheus]:
    """One with the hurried alerts, which scrapes and evaluates each second; it keeps its data in a folder."""
    (port,) = free_ports(1)
    targets = folder / "targets.json"
    targets.write_text("[]")
    (folder / "alerts.yml").write_text(yaml.safe_dump(hurried_rules()))
    discovery = [{"files": [str(targets)], "refresh_interval": "1s"}]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "padellm-worker", "file_sd_configs": discovery}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    options = ["--config.file=prometheus.yml", f"--storage.tsdb.path={folder}/data", "--log.level=error"]
    command = ["prometheus", *options, f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, cwd=folder) as server:
        try:
            yield Prometheus(port, targets)
        finally:
            server.terminate()
