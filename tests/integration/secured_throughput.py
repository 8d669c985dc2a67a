"""Documents a second over TLS and SCRAM beside plain text: one real broker, one worker at a time, in turns.

``python -m tests.integration.secured_throughput --documents 10000`` prints a line for each turn, then JSON.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stream.local.reaper import Reaper
from stream.settings import Settings
from tests.integration.secured_kafka import (
    USER,
    WORKER,
    WORKER_PASSWORD,
    RunningSecuredKafka,
)
from tests.integration.worker_fixture import Bench, bench_at
from tests.tiny_model import write_tiny_checkpoint
from tests.token_server import TokenIssuer

_PATIENCE = 600.0
_INSTANT = ("-m", "stream.bench.instant_worker")


@dataclass(frozen=True, slots=True)
class Turn:
    """Documents a second from the first one sent to the last event read, and the worker's time on a core."""

    documents_per_second: float
    worker_ms: float


async def take_turn(bench: Bench, documents: int, login: dict[str, Any], *, warm_up: int = 1000) -> Turn:
    """Send documents through a fresh worker with a login, over a model that answers at once."""
    worker = bench.start_worker(_INSTANT, **login)
    await worker.is_ready()
    await _through(bench, 0, warm_up)
    process = psutil.Process(worker.process.pid)
    before, began = process.cpu_times(), time.perf_counter()
    await _through(bench, warm_up, documents)
    seconds, after = time.perf_counter() - began, process.cpu_times()
    assert worker.terminate() == 0
    spent = after.user + after.system - before.user - before.system
    return Turn(documents / seconds, spent / documents * 1000)


async def _through(bench: Bench, sent: int, count: int) -> None:
    """Send documents, and wait until they and those that were sent before are events."""
    await bench.produce(*(f"Ada{sent + number} met Charles in London." for number in range(count)))
    records = await bench.outcomes(lambda found: len(found) >= sent + count, patience=_PATIENCE)
    lost = sent + count - sum(record.topic == bench.settings.entities_topic for record in records)
    assert lost == 0, f"{lost} documents are no events"


async def _main(documents: int, rounds: int) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        Reaper() as reaper,
        TokenIssuer(USER, "secret-of-alice").serve() as issuer,
    ):
        folder = Path(name)
        model = write_tiny_checkpoint(folder / "model")
        broker = RunningSecuredKafka(folder / "kafka", reaper, issuer)
        broker.start()
        try:
            ways = {"plain text": {}, "TLS and SCRAM": _login(broker)}
            turns: dict[str, list[Turn]] = {way: [] for way in ways}
            for number in range(rounds):
                for way, login in list(ways.items())[:: -1 if number % 2 else 1]:
                    async for bench in bench_at(broker.at("ADMIN"), model, folder):
                        await _allow(broker, bench)
                        turn = await take_turn(bench, documents, login)
                        turns[way].append(turn)
                        sys.stdout.write(
                            f"{way}: {documents} documents, {turn.documents_per_second:.0f}/s, "
                            f"{turn.worker_ms:.3f} ms of the worker's core each\n"
                        )
        finally:
            broker.stop()
    medians = {
        way: {
            "documents_per_second": round(statistics.median(t.documents_per_second for t in taken), 1),
            "worker_ms": round(statistics.median(t.worker_ms for t in taken), 4),
        }
        for way, taken in turns.items()
    }
    sys.stdout.write(json.dumps({"documents": documents, "rounds": rounds, "lost": 0, **medians}) + "\n")


def _login(broker: RunningSecuredKafka) -> dict[str, Any]:
    values = {
        "broker": broker.at("SAFE"),
        "security_protocol": "SASL_SSL",
        "ssl_ca_location": broker.authority.file,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": WORKER,
        "sasl_password": WORKER_PASSWORD,
    }
    settings = Settings(**values)
    return {name: getattr(settings, name) for name in values}


async def _allow(broker: RunningSecuredKafka, bench: Bench) -> None:
    names = bench.settings
    await broker.allow(
        WORKER,
        ("read", "group", names.group),
        ("read", "topic", names.documents_topic),
        ("write", "topic", names.entities_topic),
        ("write", "topic", names.dead_letters_topic),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    asyncio.run(_main(given.documents, given.rounds))
