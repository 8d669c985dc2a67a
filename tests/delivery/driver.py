"""One run under a fault: documents, workers, readers and the fault, and what the checker finds in it.

The seed decides the documents, the victims and the pauses; the machine decides the rest.
"""

import asyncio
import json
import random
import struct
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientError
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.contract.headers import read_dead_letter
from stream.kafka.topics import ensure_topics
from stream.settings import Settings
from tests.delivery import faults
from tests.delivery.anomalies import AT_LEAST_ONCE, duplicates, found
from tests.delivery.fault_run import FaultRun
from tests.delivery.history import (
    Ack,
    Commit,
    Entry,
    History,
    Journal,
    LogEnd,
    Position,
    ReaderPoll,
    Record,
    Report,
    Send,
)
from tests.delivery.recording_worker import content, now
from tests.integration.kafka_fixture import RunningKafka
from tests.integration.worker_fixture import Bench, WorkerProcess

_OFFSETS = "__consumer_offsets"
_OFFSET_KEYS = (0, 1)  # versions of keys that name a committed offset
_INTERVAL = 0.025  # seconds between documents
_REST = 120.0
_STRAGGLERS = 5.0
_ORDERS = ("REJECT", "FAULT", "TIMEOUT")


@dataclass(frozen=True)
class Verdict:
    """Result of a run.

    Attributes:
        counts: Messages by kind, repeated events, and records of the history by type.
        actions: Deeds of the fault.
        found: Offending records by anomaly; empty when the promise was kept.
        seconds: Length of the run.
    """

    counts: Counter[str]
    actions: list[dict[str, Any]]
    found: dict[str, list[Entry]]
    seconds: float


async def run_under(
    fault: str,
    seed: int,
    broker: RunningKafka,
    model: Path,
    folder: Path,
    *,
    documents: int,
    bug: str | None = None,
) -> Verdict:
    """Run workers under a fault until all is at rest, and check what happened.

    Args:
        fault: Name of a file in ``faults``.
        seed: Decides documents, victims and pauses.
        broker: The broker; runs before and after.
        model: Tiny checkpoint of the scripted model.
        folder: Empty folder for journals and logs.
        documents: Documents to send.
        bug: Bug to plant into the workers, a name of ``recording_worker.BUGS``.
    """
    began = time.monotonic()
    bench = Bench(_settings(broker.bootstrap, model), folder, [])
    await ensure_topics(bench.settings)
    run = FaultRun(random.Random(f"{fault} {seed}"), bench, broker, folder / "away", bug)
    texts = _values(random.Random(seed), documents, run.away)
    journal = Journal(folder / "driver.jsonl")
    try:
        workers = [run.start_worker() for _ in range(2)]
        await asyncio.gather(*(worker.is_ready() for worker in workers))
        async with _in_background(_watch_outcomes(bench, journal), _watch_pages(run, journal)):
            sending = asyncio.create_task(_send(bench, texts, journal))
            await faults.FAULTS[fault](run)
            await sending
            if not run.alive():
                run.start_worker()
            await _rest(bench, journal, folder)
        for record in [*await _read_topics(bench), *await _read_commits(bench)]:
            journal.append(record)
    finally:
        bench.close()
        journal.close()
    history = _history(folder)
    return Verdict(_counts(history), run.actions, found(history, AT_LEAST_ONCE), time.monotonic() - began)


def _history(folder: Path) -> History:
    # Journals of workers first: of one millisecond, the end of the work counts before the commit.
    return History.read(*sorted(folder.glob("worker-*.jsonl")), folder / "driver.jsonl")


def _settings(bootstrap: str, model: Path) -> Settings:
    name = f"faults-{uuid.uuid4().hex[:8]}"
    return Settings(
        broker=bootstrap,
        group=name,
        documents_topic=name,
        entities_topic=f"{name}-entities",
        dead_letters_topic=f"{name}-dead",
        model=model,
        drain_limit=3.0,
        max_in_flight=16,
        log_level="info",
    )


def _values(chance: random.Random, documents: int, away: Path) -> list[bytes]:
    """Values of documents: most are sound, a few make the model fail, and a few are no documents."""
    values = []
    for number in range(documents):
        word = f"Ada{number}"
        # Slow ones are in flight over several commits, so that what dies has them in its hands.
        seconds = chance.uniform(0.5, 1.0) if chance.random() < 0.15 else chance.uniform(0, 0.1)
        orders = [f"SLEEP {seconds:.3f}", f"AWAY-WHILE {away}"]
        if chance.random() < 0.02:
            orders.append(chance.choice(_ORDERS))
        text = " ".join([word, *orders])
        value = json.dumps({"id": f"doc-{number}", "text": text}).encode()
        values.append(value[:-1] if chance.random() < 0.02 else value)
    return values


async def _send(bench: Bench, values: list[bytes], journal: Journal) -> None:
    """Send documents at an even pace, whatever the broker does; a send without an answer stays open."""
    async with bench.producer(enable_idempotence=True, acks="all") as producer:

        async def send(number: int, value: bytes) -> None:
            message = f"doc-{number}"
            journal.append(Send(process="producer", time=now(), message=message))
            with suppress(KafkaError):
                stored = await producer.send_and_wait(
                    bench.settings.documents_topic, value, key=message.encode()
                )
                journal.append(
                    Ack(
                        process="producer",
                        time=now(),
                        message=message,
                        position=Position(stored.topic, stored.partition, stored.offset),
                        content=content(value),
                        characters=_characters(value),
                    )
                )

        sends = []
        for number, value in enumerate(values):
            sends.append(asyncio.create_task(send(number, value)))
            await asyncio.sleep(_INTERVAL)
        await asyncio.gather(*sends)


def _characters(value: bytes) -> int:
    try:
        return len(json.loads(value)["text"])
    except ValueError:
        return 0


@asynccontextmanager
async def _in_background(*watches: Any) -> AsyncIterator[None]:
    """Run watches until the block ends; one that fails fails the block."""
    tasks = [asyncio.create_task(watch) for watch in watches]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if not isinstance(result, asyncio.CancelledError):
            raise result


async def _watch_outcomes(bench: Bench, journal: Journal) -> None:
    """Read outcomes while the faults happen, and how far transactions hold the logs up."""
    settings = bench.settings
    async with AIOKafkaConsumer(
        settings.entities_topic,
        settings.dead_letters_topic,
        bootstrap_servers=settings.broker,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    ) as consumer:
        while True:
            try:
                batches = await consumer.getmany(timeout_ms=200)
            except KafkaError:
                continue
            for tp, records in batches.items():
                for record in records:
                    journal.append(_seen(record, bench, "reader"))
                stable, end = consumer.last_stable_offset(tp), consumer.highwater(tp)
                if stable is not None and end is not None:
                    journal.append(
                        LogEnd(
                            process="reader",
                            time=now(),
                            topic=tp.topic,
                            partition=tp.partition,
                            stable=stable,
                            end=end,
                        )
                    )


async def _watch_pages(run: FaultRun, journal: Journal) -> None:
    """Ask each worker twice a second for its counters and its readiness."""
    while True:
        await asyncio.gather(*(_ask(run, worker, journal) for worker in run.alive()))
        await asyncio.sleep(0.5)


async def _ask(run: FaultRun, worker: WorkerProcess, journal: Journal) -> None:
    asked = now()
    with suppress(TimeoutError, ClientError):
        async with asyncio.timeout(2):
            status, metrics = await worker.page("/metrics")
            counted = now()
            ready, _ = await worker.page("/readyz")
        if status == 200 and ready:
            documents = sum(
                float(line.rpartition(" ")[2])
                for line in metrics.splitlines()
                if line.startswith("padellm_documents_total{")
            )
            journal.append(
                Report(
                    process=f"worker-{run.bench.workers.index(worker)}",
                    time=counted,
                    asked=asked,
                    documents=int(documents),
                    ready=ready == 200,
                )
            )


async def _rest(bench: Bench, journal: Journal, folder: Path) -> None:
    """Wait until all is committed and answered; what is not by then is for the checker to find."""
    ends = {part: end for part, end in (await bench.ends()).items() if end}
    deadline = time.monotonic() + _REST
    while await bench.committed() != ends and time.monotonic() < deadline:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0.3)
    deadline = time.monotonic() + _STRAGGLERS
    while time.monotonic() < deadline:
        history = History.read(folder / "driver.jsonl")
        answered = {poll.source for poll in history.of(ReaderPoll)}
        if all(ack.position in answered for ack in history.of(Ack)):
            return
        await asyncio.sleep(0.5)


async def _read_topics(bench: Bench) -> list[Record]:
    """All documents and outcomes, as a reader who comes last gets them."""
    settings = bench.settings
    topics = settings.documents_topic, settings.entities_topic, settings.dead_letters_topic
    return [_seen(record, bench, "last reader") async for record in _records(settings.broker, topics)]


async def _read_commits(bench: Bench) -> list[Record]:
    """Every offset that the group has committed, in order, from the coordinator's own log."""
    commits: list[Record] = []
    async for record in _records(bench.settings.broker, (_OFFSETS,)):
        if record.value is None:
            continue
        key = _Fields(record.key)
        if key.number(">h") not in _OFFSET_KEYS:
            continue
        group, topic, partition = key.text(), key.text(), key.number(">i")
        if group == bench.settings.group:
            value = _Fields(record.value)
            value.number(">h")
            commits.append(
                Commit(
                    process="broker",
                    time=record.timestamp / 1000,
                    topic=topic,
                    partition=partition,
                    offset=value.number(">q"),
                )
            )
    return commits


class _Fields:
    """Fields of a record of the coordinator's log, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str) -> int:
        """The next number."""
        (number,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(number)

    def text(self) -> str:
        """The next string, with its length before it."""
        length = self.number(">h")
        self._at += length
        return self._data[self._at - length : self._at].decode()


async def _records(bootstrap: str, topics: Iterable[str]) -> AsyncIterator[Any]:
    """Yield all records of topics from the start to their present ends."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as consumer:
        places = []
        for topic in topics:
            await consumer._client._wait_on_metadata(topic)
            places += [TopicPartition(topic, part) for part in consumer.partitions_for_topic(topic)]
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        behind = {tp for tp in places if ends[tp] > 0}
        while behind:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    yield record
            for tp in [*behind]:
                if await consumer.position(tp) >= ends[tp]:
                    behind.discard(tp)


def _seen(record: Any, bench: Bench, reader: str) -> ReaderPoll:
    """A message as a reader got it."""
    settings = bench.settings
    fields: dict[str, Any] = {
        "process": reader,
        "time": now(),
        "position": (record.topic, record.partition, record.offset),
        "content": content(record.value),
        "key": (record.key or b"").decode(),
    }
    if record.topic == settings.documents_topic:
        return ReaderPoll(kind="document", **fields)
    if record.topic == settings.dead_letters_topic:
        letter = read_dead_letter(record.headers)
        source = None if letter is None else (letter.topic, letter.partition, letter.offset)
        return ReaderPoll(kind="dead_letter", source=source, echo=content(record.value), **fields)
    event = json.loads(record.value)
    entities, coverage = event["entities"], event["coverage"]
    return ReaderPoll(
        kind="event",
        message=event["event_id"],
        source=tuple(event["source"].values()),
        echo=entities[0]["text"] if entities else "",
        entities=tuple((each["label"], each["start"], each["end"], each["score"]) for each in entities),
        read=_between(coverage["unread"], coverage["characters"]),
        unread=coverage["unread"],
        **fields,
    )


def _between(spans: list[list[int]], end: int) -> tuple[tuple[int, int], ...]:
    """Spans of the characters up to the end that no given span covers."""
    starts, stops = [0, *(stop for _, stop in spans)], [*(start for start, _ in spans), end]
    return tuple((start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop)


def _counts(history: History) -> Counter[str]:
    positions = {(poll.kind, poll.position) for poll in history.of(ReaderPoll)}
    counts = Counter([*(kind for kind, _ in positions), *(record.type for record in history)])
    counts["repeat"] = len({event.position for event in duplicates(history)})
    return counts
