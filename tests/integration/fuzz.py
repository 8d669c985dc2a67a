"""Records of any bytes and of any JSON through the real worker: each has an outcome, and nothing breaks.

python -m tests.integration.fuzz [--messages 50000] [--seed 1] [--delivery exactly_once]
"""

import argparse
import asyncio
import json
import logging
import random
import string
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from aiokafka import AIOKafkaConsumer

from stream.contract.record import Headers
from stream.local.reaper import Reaper
from stream.settings import Delivery, LogLevel
from tests.integration.kafka_fixture import RunningKafka
from tests.integration.worker_fixture import Bench, WorkerProcess, bench_at
from tests.tiny_model import write_tiny_checkpoint
from tests.worker.bad_inputs import BAD, EVENT, STRANGE

_FIELDS = ("id", "text", "labels", "threshold", "policy", "offsets", "metadata")
_LONGEST_SEED = 20_000  # bytes: larger inputs have tests of their own, and would fill the topic
_IDLE = 120.0  # seconds without an outcome after which the worker counts as stuck
_KEY_LONGEST = 40


@dataclass
class FuzzFigures:
    """Figures of a run.

    Attributes:
        sent: Records sent.
        outcomes: Records by outcome: ``event`` or the reason of the dead letter.
        missing: Positions without an outcome.
        repeats: Outcomes beyond the first of each record.
        exit_status: Of the worker; None if it runs.
        seconds: From the first record to the last outcome.
    """

    sent: int
    outcomes: Counter[str] = field(default_factory=Counter)
    missing: set[tuple[int, int]] = field(default_factory=set)
    repeats: int = 0
    exit_status: int | None = None
    seconds: float = 0.0


class RecordFuzzer:
    """Makes records, each from the seed and the number of records before it."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._seeds = [
            case.value for case in BAD + STRANGE if case.value and len(case.value) <= _LONGEST_SEED
        ]
        self._kinds = (self._noise, self._mutant, self._mutant, self._any_json, self._odd_document)

    def record(self) -> tuple[bytes | None, bytes | None, Headers]:
        """Key, value and headers; key and value are never both None, which no producer can send."""
        chance = self._chance
        key = None if chance.random() < 0.2 else chance.randbytes(chance.randrange(_KEY_LONGEST))
        value = chance.choice(self._kinds)()
        if key is not None and chance.random() < 0.01:
            value = None
        headers = tuple(
            (self._characters(8), None if chance.random() < 0.1 else chance.randbytes(chance.randrange(20)))
            for _ in range(chance.choice((0, 0, 1, 3)))
        )
        return key, value, headers

    def _noise(self) -> bytes:
        return self._chance.randbytes(self._chance.randrange(200))

    def _mutant(self) -> bytes:
        """A known input with a few bytes changed, taken out, put in or doubled."""
        value = bytearray(self._chance.choice(self._seeds))
        for _ in range(self._chance.randint(1, 4)):
            at, length = self._chance.randrange(len(value) + 1), self._chance.randrange(1, 9)
            piece = self._chance.choice(
                (
                    b"",
                    self._chance.randbytes(length),
                    bytes(self._chance.choices(b'{}[]",:\\u0\xed\xa0\x80 e-.', k=length)),
                    bytes(value[at : at + length]) * 2,
                )
            )
            value[at : at + self._chance.choice((0, length))] = piece
        return bytes(value)

    def _any_json(self) -> bytes:
        return self._spelled(self._value(depth=4))

    def _odd_document(self) -> bytes:
        """A document with one to three members of any kind."""
        document: dict[str, Any] = {"text": self._characters(60) + "."}
        for _ in range(self._chance.randint(1, 3)):
            name = self._chance.choice((*_FIELDS, *_FIELDS, self._characters(6)))
            document[name] = self._value(depth=3)
        return self._spelled(document)

    def _spelled(self, value: object) -> bytes:
        return json.dumps(value, ensure_ascii=self._chance.random() < 0.5).encode(
            "utf-8", errors="surrogatepass"
        )

    def _value(self, depth: int) -> Any:
        chance = self._chance
        kind = chance.randrange(9 if depth else 6)
        if kind == 0:
            return chance.choice((None, True, False, "", "paper", "nested", "person"))
        if kind == 1:
            return chance.choice((0, 1, -1, chance.randrange(-(2**65), 2**65)))
        if kind == 2:
            return chance.choice((chance.random(), chance.uniform(-2, 2), 1e300 * chance.random(), 1e999))
        if kind <= 5:
            return self._characters(20)
        if kind == 6:
            return [self._value(depth - 1) for _ in range(chance.randrange(4))]
        names = (*_FIELDS, "person", self._characters(5))
        return {chance.choice(names): self._value(depth - 1) for _ in range(chance.randrange(4))}

    def _characters(self, longest: int) -> str:
        """Characters of any plane, plain ones more often; now and then a surrogate alone."""
        chance = self._chance
        text = "".join(
            chance.choice(string.printable) if chance.random() < 0.8 else chr(chance.randrange(0x110000))
            for _ in range(chance.randrange(longest))
        )
        lone = chance.random() < 0.05
        return text if lone else text.encode(errors="replace").decode()


async def fuzz(
    bench: Bench, messages: int, seed: int, delivery: Delivery = Delivery.AT_LEAST_ONCE
) -> FuzzFigures:
    """Send so many records to a worker, and look for the outcome of each."""
    worker = bench.start_worker(delivery=delivery, log_level=LogLevel.ERROR)
    await worker.is_ready()
    began = time.monotonic()
    sending = asyncio.create_task(_send(bench, messages, seed))
    figures = FuzzFigures(messages)
    seen: Counter[tuple[int, int]] = Counter()
    async with AIOKafkaConsumer(
        bench.settings.entities_topic,
        bench.settings.dead_letters_topic,
        bootstrap_servers=bench.settings.broker,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    ) as reader:
        last = time.monotonic()
        while len(seen) < messages and time.monotonic() - last < _IDLE and worker.process.poll() is None:
            for records in (await reader.getmany(timeout_ms=200)).values():
                last = time.monotonic()
                for record in records:
                    position, outcome = _outcome(record, bench)
                    seen[position] += 1
                    figures.outcomes[outcome] += 1
        figures.seconds = last - began
    figures.missing = await sending - set(seen)
    figures.repeats = seen.total() - len(seen)
    figures.exit_status = worker.process.poll()
    return figures


async def _send(bench: Bench, messages: int, seed: int) -> set[tuple[int, int]]:
    """Send the records; returns their positions."""
    fuzzer = RecordFuzzer(seed)
    positions = set()
    async with bench.producer(linger_ms=20) as producer:
        for _ in range(0, messages, 500):
            batch = []
            for _ in range(min(500, messages - len(positions))):
                key, value, headers = fuzzer.record()
                names = [(_encodable(name), content) for name, content in headers]
                batch.append(
                    await producer.send(bench.settings.documents_topic, value, key=key, headers=names)
                )
            positions |= {(at.partition, at.offset) for at in await asyncio.gather(*batch)}
    return positions


def _encodable(name: str) -> str:
    """A header's name, which no producer can send with a surrogate in it."""
    return name.encode(errors="replace").decode()


def _outcome(record: Any, bench: Bench) -> tuple[tuple[int, int], str]:
    if record.topic == bench.settings.entities_topic:
        source = json.loads(record.value)["source"]
        return (source["partition"], source["offset"]), EVENT
    headers = dict(record.headers)
    position = int(headers["__dlq.errors.partition"]), int(headers["__dlq.errors.offset"])
    return position, headers["padellm.reason"].decode()


def main() -> int:
    """Run once, and print the outcomes; returns 1 where a record has none, or something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.fuzz")
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--delivery", type=Delivery, choices=[*Delivery], default=Delivery.AT_LEAST_ONCE)
    asked = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, Reaper() as reaper:
        kafka = RunningKafka(Path(folder) / "kafka", reaper)
        model = write_tiny_checkpoint(Path(folder) / "model")
        kafka.start()
        try:
            figures = asyncio.run(_run(kafka.bootstrap, model, Path(folder), asked))
        finally:
            kafka.stop()
    for outcome, count in figures.outcomes.most_common():
        typer.echo(f"{outcome:<24} {count:>8,}")
    typer.echo(
        f"{figures.sent:,} records in {figures.seconds:.0f} s; {len(figures.missing)} without an outcome, "
        f"{figures.repeats} repeated; worker "
        + ("runs" if figures.exit_status is None else f"ended with {figures.exit_status}")
    )
    broken = figures.missing or figures.exit_status is not None or figures.outcomes["internal_error"]
    return int(bool(broken))


async def _run(bootstrap: str, model: Path, folder: Path, asked: argparse.Namespace) -> FuzzFigures:
    async for bench in bench_at(bootstrap, model, folder):
        figures = await fuzz(bench, asked.messages, asked.seed, asked.delivery)
        _show_errors(bench.workers[0])
        return figures
    raise AssertionError


def _show_errors(worker: WorkerProcess) -> None:
    for line in worker.lines()[:5]:
        typer.echo(json.dumps(line)[:2000])


if __name__ == "__main__":
    sys.exit(main())
