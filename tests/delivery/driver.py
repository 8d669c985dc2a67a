"""One run under a fault: documents, workers, readers and the fault, and what the checker finds in it.

The seed decides the documents, the victims and the pauses; the machine decides the rest.
"""

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientError
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from stream.contract.headers import read_dead_letter
from stream.errors import DeliveryError
from stream.kafka.topics import ensure_topics, topic_names
from stream.settings import Delivery, Inference, Settings
from tests.delivery import coordinator_log, faults
from tests.delivery.anomalies import (
    ALL,
    AT_LEAST_ONCE,
    AT_LEAST_ONCE_IN_ORDER,
    Anomaly,
    duplicates,
    found,
)
from tests.delivery.documents import SentDocument, documents
from tests.delivery.fault_run import FaultRun
from tests.delivery.forked_worker import ForkedWorker
from tests.delivery.history import (
    Ack,
    Entry,
    History,
    Journal,
    LogEnd,
    Position,
    ReaderPoll,
    Record,
    Report,
    Send,
    content,
    now,
)
from tests.delivery.network.proxy import KafkaProxy
from tests.integration.kafka_cluster import RunningCluster
from tests.integration.kafka_fixture import RunningKafka
from tests.integration.triton_fixture import RunningTriton
from tests.integration.worker_fixture import Bench, WorkerProcess

_PACE = 40.0
_REST = 240.0  # without a commit
_STRAGGLERS = 5.0
_TRIES = 3


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
    broker: RunningKafka | RunningCluster,
    model: Path,
    folder: Path,
    *,
    count: int,
    inject: Callable[[FaultRun], Awaitable[None]] | None = None,
    partitions: int = 4,
    pace: float = _PACE,
    burst: int = 1,
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
    ordered: bool = False,
    bug: str | None = None,
    triton: RunningTriton | None = None,
) -> Verdict:
    """Run workers under a fault until all is at rest, and check what happened.

    Args:
        fault: Name of a file in ``faults``.
        seed: Decides documents, victims and pauses.
        broker: The broker, or brokers; run before and after.
        model: Tiny checkpoint of the scripted model.
        folder: Empty folder for journals and logs.
        count: Documents to send.
        inject: The fault, if it is to be injected in another way than its own.
        partitions: Partitions of each topic.
        pace: Documents a second.
        burst: Documents that are sent at once.
        delivery: What the workers promise.
        ordered: Whether many documents share a key, and outcomes of a key must come in order. Exactly once
            promises that; at least once does with one document in flight.
        bug: Bug to plant into the workers, a name of ``recording_worker.BUGS``.
        triton: Server of the scripted model; without it the script answers in the workers themselves.
    """
    began, since = time.monotonic(), now()
    settings = _settings(broker.bootstrap, model, delivery, ordered=ordered)
    served = {"inference": Inference.TRITON, "triton_url": triton.url} if triton is not None else {}
    bench = Bench(settings.model_copy(update=served), folder, [], ForkedWorker)
    await _make_topics(bench.settings, partitions)
    proxy = KafkaProxy(broker.service) if isinstance(broker, RunningKafka) else None
    run = FaultRun(random.Random(f"{fault} {seed}"), bench, broker, proxy, triton, folder / "away", bug)
    texts = documents(random.Random(seed), count, run.away, pace=pace, ordered=ordered)
    journal = Journal(folder / "driver.jsonl")
    try:
        async with proxy or nullcontext():
            workers = [run.start_worker() for _ in range(2)]
            await asyncio.gather(*(worker.is_ready() for worker in workers))
            async with _in_background(_watch_outcomes(bench, journal), _watch_pages(run, journal)):
                sending = asyncio.create_task(_send(bench, texts, journal, pace=pace, burst=burst))
                await (inject or faults.FAULTS[fault])(run)
                await sending
                if not run.alive():
                    run.start_worker()
                await _rest(bench, journal, folder)
        for record in [*await _read_topics(bench), *await _read_commits(bench, since)]:
            journal.append(record)
        bench.close()
        await _delete_topics(bench)
    finally:
        bench.close()
        journal.close()
    history = _history(folder)
    promise = _promise(delivery, ordered=ordered)
    return Verdict(_counts(history), run.actions, found(history, promise), time.monotonic() - began)


async def _make_topics(settings: Settings, partitions: int) -> None:
    """Make the topics; brokers that have just started may take longer than a request waits."""
    for _ in range(_TRIES):
        with suppress(DeliveryError):
            await ensure_topics(settings, partitions=partitions)
            return
    await ensure_topics(settings, partitions=partitions)


def _promise(delivery: Delivery, *, ordered: bool) -> tuple[Anomaly, ...]:
    """Anomalies that must not be."""
    if delivery is Delivery.EXACTLY_ONCE:
        return ALL
    return AT_LEAST_ONCE_IN_ORDER if ordered else AT_LEAST_ONCE


def _history(folder: Path) -> History:
    # Journals of workers first: of one millisecond, the end of the work counts before the commit.
    return History.read(*sorted(folder.glob("worker-*.jsonl")), folder / "driver.jsonl")


def _settings(bootstrap: str, model: Path, delivery: Delivery, *, ordered: bool) -> Settings:
    name = f"faults-{uuid.uuid4().hex[:8]}"
    # In transactions an outcome waits, in flight, for those of all documents before it.
    in_flight = 64 if delivery is Delivery.EXACTLY_ONCE else 1 if ordered else 16
    return Settings(
        broker=bootstrap,
        group=name,
        documents_topic=name,
        entities_topic=f"{name}-entities",
        dead_letters_topic=f"{name}-dead",
        model=model,
        inference=Inference.IN_PROCESS,
        delivery=delivery,
        drain_limit=3.0,
        max_in_flight=in_flight,
        log_level="info",
    )


async def _send(
    bench: Bench, texts: list[SentDocument], journal: Journal, *, pace: float, burst: int
) -> None:
    """Send documents at an even pace, whatever the broker does; a send without an answer stays open."""
    async with bench.producer(enable_idempotence=True, acks="all") as producer:

        async def send(document: SentDocument) -> None:
            journal.append(Send(process="producer", time=now(), message=document.name))
            with suppress(KafkaError):
                stored = await producer.send_and_wait(
                    bench.settings.documents_topic, document.value, key=document.key
                )
                journal.append(
                    Ack(
                        process="producer",
                        time=now(),
                        message=document.name,
                        position=Position(stored.topic, stored.partition, stored.offset),
                        content=document.content,
                        characters=document.characters,
                    )
                )

        began = time.monotonic()
        sends = []
        for number, document in enumerate(texts):
            if number % burst == 0:
                await asyncio.sleep(max(0, began + number / pace - time.monotonic()))
            sends.append(asyncio.create_task(send(document)))
        await asyncio.gather(*sends)


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
    while True:
        with suppress(UnknownTopicOrPartitionError):  # a broker may learn late of topics that another made
            await _read_outcomes(bench, journal)


async def _read_outcomes(bench: Bench, journal: Journal) -> None:
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
            for record in (record for records in batches.values() for record in records):
                journal.append(_seen(record, bench, "reader"))
            for tp in consumer.assignment():
                # Behind an open transaction nothing comes, and just that is to be seen.
                stable, end = consumer.last_stable_offset(tp), consumer.highwater(tp)
                if stable is not None and end is not None and (tp in batches or stable < end):
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
    """Ask each worker every two seconds for its counters and its readiness."""
    while True:
        await asyncio.gather(*(_ask(run, worker, journal) for worker in run.alive()))
        await asyncio.sleep(2)


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
    """Wait until all is committed and answered, or nothing moves any more; that is for the checker to find.

    As long as commits move, workers are slow and not stuck: what they publish after the last reader has come
    would count as lost.
    """
    ends = {part: end for part, end in (await bench.ends()).items() if end}
    latest: dict[int, int] = {}
    deadline = time.monotonic() + _REST
    while latest != ends and time.monotonic() < deadline:
        await asyncio.sleep(0.3)
        committed = await _committed(bench)
        if committed not in (None, latest):
            latest, deadline = committed, time.monotonic() + _REST
    deadline = time.monotonic() + _STRAGGLERS
    while time.monotonic() < deadline:
        history = History.read(folder / "driver.jsonl")
        answered = {poll.source for poll in history.of(ReaderPoll)}
        if all(ack.position in answered for ack in history.of(Ack)):
            return
        await asyncio.sleep(0.5)


async def _committed(bench: Bench) -> dict[int, int] | None:
    """Committed offsets; None while the broker has no address, as when a busy machine held it up too long."""
    with suppress(KafkaError):
        return await bench.committed()
    return None


async def _read_topics(bench: Bench) -> list[Record]:
    """All documents and outcomes, as a reader who comes last gets them."""
    settings = bench.settings
    topics = settings.documents_topic, settings.entities_topic, settings.dead_letters_topic
    return [_seen(record, bench, "last reader") async for record in _records(settings.broker, topics)]


async def _read_commits(bench: Bench, since: float) -> list[Record]:
    """Every offset that the group has committed, in order, from the coordinator's own log."""
    commits = [
        coordinator_log.commit_of(record, bench.settings.group)
        async for record in _records(bench.settings.broker, (coordinator_log.TOPIC,), since=since)
    ]
    return [commit for commit in commits if commit is not None]


async def _delete_topics(bench: Bench) -> None:
    """Leave the brokers as they were: hundreds of runs' logs would slow them down."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.broker)
    await admin.start()
    try:
        await admin.delete_topics([*topic_names(bench.settings)])
    finally:
        await admin.close()


async def _records(bootstrap: str, topics: Iterable[str], *, since: float = 0) -> AsyncIterator[Any]:
    """Yield all records of topics from a time, or from the start, to their present ends."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as consumer:
        places = []
        for topic in topics:
            await consumer._client._wait_on_metadata(topic)
            places += [TopicPartition(topic, part) for part in consumer.partitions_for_topic(topic)]
        ends = await consumer.end_offsets(places)
        starts = await consumer.offsets_for_times(dict.fromkeys(places, int(since * 1000)))
        behind = {tp for tp in places if starts[tp] is not None and starts[tp].offset < ends[tp]}
        consumer.assign([*behind])
        for tp in behind:
            consumer.seek(tp, starts[tp].offset)
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
