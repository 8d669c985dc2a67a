"""Requests that arrive in the next transaction, many times: what tears, what goes back, and what repeats.

python -m tests.delivery.late_requests [--holds 200] [--silent 4] [--seed 1] [--planted] [--old-broker]
"""

import argparse
import asyncio
import logging
import random
import shutil
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from aiokafka import AIOKafkaConsumer

from stream.kafka.topics import ensure_topics
from stream.local.reaper import Reaper
from stream.settings import Delivery, Inference, Settings
from tests.delivery.forked_worker import ForkedWorker
from tests.delivery.network.held_requests import Arrival, HeldRequests
from tests.delivery.network.proxy import KafkaProxy
from tests.delivery.network.request_frame import Api
from tests.delivery.transaction_log import TransactionLog
from tests.integration.kafka_fixture import OldTransactionsKafka, RunningKafka
from tests.integration.proxied_kafka import ProxiedKafka
from tests.integration.worker_fixture import Bench
from tests.tiny_model import write_tiny_checkpoint

_PROGRAM = "-m", "tests.delivery.recording_worker"
_BUG = "go_on_without_an_answer"
_ANSWERS = {
    0: "taken",
    47: "INVALID_PRODUCER_EPOCH",
    48: "INVALID_TXN_STATE",
    51: "CONCURRENT_TRANSACTIONS",
    90: "PRODUCER_FENCED",
}
_INTERVAL = 0.01
_AHEAD = 100
_PATIENCE = 120.0
_PATIENCE_EACH = 5.0


@dataclass(frozen=True)
class LateVerdict:
    """Result of a run.

    Attributes:
        arrivals: Late requests by what came of them.
        documents: Documents sent.
        transactions: Committed and aborted transactions.
        torn: Transactions that took effect in part; None where the log does not tell transactions apart.
        open: Transactions that nothing has ended.
        back: Commits that put an offset back.
        lost: Documents without an outcome for a reader of committed transactions.
        repeated: Outcomes that such a reader got twice.
        seconds: Length of the run.
    """

    arrivals: Counter[Arrival]
    documents: int
    transactions: tuple[int, int]
    torn: int | None
    open: int
    back: int
    lost: int
    repeated: int
    seconds: float

    @property
    def taken(self) -> int:
        """Late requests that the broker took within the next transaction, or for it."""
        return sum(
            number
            for arrival, number in self.arrivals.items()
            if arrival.code == 0 and arrival.moment != Api.ADD_PARTITIONS.name
        )

    @property
    def kept(self) -> bool:
        """Whether each document has one outcome, and each transaction one end."""
        return not any((self.torn, self.open, self.back, self.lost, self.repeated))


async def hold_requests(
    broker: RunningKafka, model: Path, folder: Path, *, seed: int, ways: list[str], bug: str | None = None
) -> LateVerdict:
    """Run a worker behind a proxy that holds requests of its transactions into the next ones.

    Args:
        broker: The broker.
        model: Tiny checkpoint of the scripted model.
        folder: For journals and logs.
        seed: Decides which requests are held, and until when.
        ways: Ways of ``HeldRequests``, one for each request to hold.
        bug: Bug to plant into the worker.
    """
    began = time.monotonic()
    kafka = broker.service
    held = HeldRequests(random.Random(seed), kafka.proxied_port, ways)
    bench = Bench(_settings(broker.bootstrap, model), folder, [], ForkedWorker)
    await ensure_topics(bench.settings)
    async with KafkaProxy(kafka) as proxy, proxy.under(held):
        try:
            worker = bench.start_worker(
                (*_PROGRAM, "worker-0", str(folder / "worker-0.jsonl"), *([bug] if bug else [])),
                broker=proxy.bootstrap,
            )
            await worker.is_ready()
            async with _reading(bench) as outcomes:
                documents = await _send(bench, held, outcomes)
                await bench.until_committed({part: end for part, end in (await bench.ends()).items() if end})
                await _until(lambda: len(outcomes) >= documents)
        finally:
            bench.close()
    log = await TransactionLog.read(bench.settings)
    committed = [each for each in log.transactions.values() if each.is_committed]
    return LateVerdict(
        arrivals=held.arrivals,
        documents=documents,
        transactions=(len(committed), len(log.transactions) - len(committed)),
        torn=None if isinstance(kafka, OldTransactionsKafka) else log.torn,
        open=log.open,
        back=log.back,
        lost=documents - len(outcomes),
        repeated=outcomes.total() - len(outcomes),
        seconds=time.monotonic() - began,
    )


def _settings(bootstrap: str, model: Path) -> Settings:
    name = f"late-{uuid.uuid4().hex[:8]}"
    return Settings(
        broker=bootstrap,
        group=name,
        documents_topic=name,
        entities_topic=f"{name}-entities",
        dead_letters_topic=f"{name}-dead",
        model=model,
        inference=Inference.IN_PROCESS,  # the script answers in the worker itself
        delivery=Delivery.EXACTLY_ONCE,
        log_level="info",
    )


async def _send(bench: Bench, held: HeldRequests, outcomes: Counter[str]) -> int:
    """Send documents, some ahead of their outcomes, until all that was held has arrived; returns how many."""
    number = 0
    deadline = time.monotonic() + _PATIENCE + _PATIENCE_EACH * held.left
    async with bench.producer() as producer:
        while not held.finished.is_set():
            assert time.monotonic() < deadline, f"held requests never arrived; so far {held.arrivals}"
            if number - len(outcomes) < _AHEAD:
                await producer.send(
                    bench.settings.documents_topic,
                    b'{"id": "doc-%d", "text": "Ada%d SLEEP 0.01"}' % (number, number),
                    key=b"doc-%d" % number,
                )
                number += 1
            await asyncio.sleep(_INTERVAL)
        await producer.flush()
    return number


@asynccontextmanager
async def _reading(bench: Bench) -> AsyncIterator[Counter[str]]:
    """Count the outcomes of each document that a reader of committed transactions gets meanwhile."""
    outcomes: Counter[str] = Counter()
    settings = bench.settings

    async def read() -> None:
        async with AIOKafkaConsumer(
            settings.entities_topic,
            settings.dead_letters_topic,
            bootstrap_servers=settings.broker,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        ) as consumer:
            async for record in consumer:
                outcomes[record.key.decode()] += 1

    reading = asyncio.create_task(read())
    try:
        yield outcomes
    finally:
        reading.cancel()
        await asyncio.wait({reading})


async def _until(condition) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110 - another task reads
        await asyncio.sleep(0.1)


def main() -> int:
    """Run it and print what came of it; returns 1 unless the promise was kept, or the planted bug found."""
    parser = argparse.ArgumentParser(prog="python -m tests.delivery.late_requests", description=__doc__)
    parser.add_argument("--holds", type=int, default=200)
    parser.add_argument("--silent", type=int, default=4, help="of these, wait for the client's time-out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(".padellm/late"))
    parser.add_argument(
        "--planted", action="store_true", help="plant a worker that goes on in its transaction"
    )
    parser.add_argument("--old-broker", action="store_true", help="transaction.version=0")
    asked = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    shutil.rmtree(asked.folder, ignore_errors=True)
    chance = random.Random(asked.seed)
    # Without an epoch for each transaction a doubled request would be taken; TCP doubles none.
    others = ("lost",) if asked.old_broker else ("lost", "doubled")
    ways = ["silent"] * asked.silent
    ways += [chance.choice(others) for _ in range(asked.holds - asked.silent)]
    with Reaper() as reaper:
        kind = OldTransactionsKafka if asked.old_broker else ProxiedKafka
        broker = RunningKafka(asked.folder / "kafka", reaper, kind)
        broker.start()
        try:
            model = write_tiny_checkpoint(asked.folder / "model")
            verdict = asyncio.run(
                hold_requests(
                    broker,
                    model,
                    asked.folder,
                    seed=asked.seed,
                    ways=ways,
                    bug=_BUG if asked.planted else None,
                )
            )
        finally:
            broker.stop()
    _print(verdict)
    return int(verdict.kept is asked.planted)


def _print(verdict: LateVerdict) -> None:
    typer.echo(f"{'held':<16} {'way':<8} {'arrived before':<16} {'answer':<32} {'times':>5}")
    for arrival, number in sorted(verdict.arrivals.items()):
        answer = _ANSWERS.get(arrival.code, f"code {arrival.code}")
        typer.echo(f"{arrival.held:<16} {arrival.way:<8} {arrival.moment:<16} {answer:<32} {number:>5}")
    committed, aborted = verdict.transactions
    torn = "-" if verdict.torn is None else verdict.torn
    typer.echo(
        f"{verdict.arrivals.total()} requests arrived in the next transaction, {verdict.taken} taken: "
        f"{torn} torn, {verdict.back} offsets back, {verdict.open} left open, "
        f"{verdict.lost} lost, {verdict.repeated} repeated; {verdict.documents} documents, "
        f"{committed} transactions committed, {aborted} aborted, {verdict.seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
