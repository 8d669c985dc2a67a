"""Interruptions of service, each with its figures: restarts, kills and a broker that is away.

python -m tests.integration.interruptions rolling-restart
python -m tests.integration.interruptions worker-killed
python -m tests.integration.interruptions broker-away --seconds 10 45 300 [--how kill freeze]
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

import typer

from stream.local.reaper import Reaper
from stream.settings import Delivery
from tests.integration.kafka_fixture import RunningKafka
from tests.integration.traffic import PARTITIONS, OutcomeReader, Traffic
from tests.integration.worker_fixture import Bench, WorkerProcess, bench_at
from tests.tiny_model import write_tiny_checkpoint

_SETTLED = 1.0  # seconds of traffic before and after
_LONG_SESSION = 600.0  # longer than a restart, as the setting wants it, on the slowest machine


@dataclass(frozen=True)
class RollingRestart:
    """Figures of a rolling restart.

    Attributes:
        gap: Longest time that a partition was without an outcome, in seconds.
        restart: Longest time from SIGTERM until the new process was ready, in seconds.
        rebalances: Assignments that workers got beyond the first of each process.
        repeats: Outcomes beyond the first of each document.
    """

    gap: float
    restart: float
    rebalances: int
    repeats: int


@dataclass(frozen=True)
class WorkerKilled:
    """Figures of a worker that was killed with -9 beside another.

    Attributes:
        gap: Longest time that a partition of the killed worker was without an outcome, in seconds.
        others_gap: The same for the partitions of the other.
        repeats: Outcomes beyond the first of each document.
    """

    gap: float
    others_gap: float
    repeats: int


@dataclass(frozen=True)
class BrokerAway:
    """Figures of a broker that was away.

    Attributes:
        first: Seconds from its return until the first outcome was visible.
        ready: Status of /readyz while it was away.
        alive: Status of /livez while it was away.
        stuck: Documents in flight once all had their outcomes.
        repeats: Outcomes beyond the first of each document.
    """

    first: float
    ready: int
    alive: int
    stuck: int
    repeats: int


async def rolling_restart(bench: Bench, delivery: Delivery, *, static: bool) -> RollingRestart:
    """Restart three workers one after the other, under traffic."""
    workers = [_start(bench, delivery, number, static=static) for number in range(3)]
    await _shared(workers)
    before = {worker.log: len(assignments(worker)) for worker in workers}
    longest = 0.0
    async with Traffic(bench) as traffic:
        await _until_all_served(traffic)
        began = time.monotonic()
        for number in range(3):
            stopping = time.monotonic()
            assert await asyncio.to_thread(workers[number].terminate) == 0
            workers[number] = _start(bench, delivery, number, static=static)
            await workers[number].is_ready()
            longest = max(longest, time.monotonic() - stopping)
            await asyncio.sleep(_SETTLED)
        await traffic.stop()
    rebalances = sum(len(assignments(worker)) - before.get(worker.log, 1) for worker in bench.workers)
    return RollingRestart(
        gap=max(traffic.longest_gaps(began).values()),
        restart=longest,
        rebalances=rebalances,
        repeats=traffic.repeats(),
    )


async def worker_killed(bench: Bench, delivery: Delivery, *, static: bool, restarted: bool) -> WorkerKilled:
    """Kill one of two workers with -9, under traffic; start it again at once, or not at all."""
    workers = [_start(bench, delivery, number, static=static) for number in range(2)]
    await _shared(workers)
    its = assignments(workers[0])[-1]
    async with Traffic(bench) as traffic:
        await _until_all_served(traffic)
        began = time.monotonic()
        workers[0].kill()
        if restarted:
            _start(bench, delivery, 0, static=static)
        await _until_all_served(traffic, since=began + _SETTLED)
        await traffic.stop()
    gaps = traffic.longest_gaps(began)
    return WorkerKilled(
        gap=max(gaps[partition] for partition in its),
        others_gap=max(gap for partition, gap in gaps.items() if partition not in its),
        repeats=traffic.repeats(),
    )


async def broker_away(
    bench: Bench, kafka: RunningKafka, delivery: Delivery, seconds: float, *, how: str, documents: int = 1200
) -> BrokerAway:
    """Let the broker be away in the midst of work: ``how`` is ``kill`` (-9) or ``freeze`` (SIGSTOP)."""
    worker = _start(bench, delivery, 0, static=False, max_in_flight=32)
    await worker.is_ready()
    padding = {"padding": "x" * 2000}  # a few events of that size fill a producer's buffer
    await bench.produce(*(f"Ada{n} SLEEP 0.2" for n in range(documents)), metadata=padding)
    async with OutcomeReader(bench) as reader:
        await reader.until(documents // 10)
    left = time.time()
    leave, come_back = (kafka.kill, kafka.start) if how == "kill" else (kafka.freeze, kafka.thaw)
    await asyncio.to_thread(leave)
    await asyncio.sleep(seconds)
    pages = [(await worker.page(path))[0] for path in ("/readyz", "/livez")]
    await asyncio.to_thread(come_back)
    returned = time.monotonic()
    async with OutcomeReader(bench) as reader:
        await reader.until(documents)
    await bench.until_committed({p: end for p, end in (await bench.ends()).items() if end})
    new = [each for each in reader.seen if each.made > left + _SETTLED / 2]  # Kafka has them since its return
    return BrokerAway(
        first=min(each.at for each in new) - returned,
        ready=pages[0],
        alive=pages[1],
        stuck=int(await worker.metric("padellm_in_flight")),
        repeats=reader.repeats(),
    )


def assignments(worker: WorkerProcess) -> list[list[int]]:
    """Partitions of each assignment that a worker got so far."""
    return [line["partitions"] for line in worker.lines() if line["event"] == "partitions assigned"]


def _start(
    bench: Bench, delivery: Delivery, number: int, *, static: bool, **options: object
) -> WorkerProcess:
    identity = {"instance_id": f"worker-{number}", "session_timeout": _LONG_SESSION} if static else {}
    return bench.start_worker(**identity, delivery=delivery, **options)


async def _shared(workers: list[WorkerProcess]) -> None:
    """Wait until all partitions are handed out among the workers, each with at least one."""
    deadline = time.monotonic() + 300
    while True:
        latest = [(assignments(worker) or [[]])[-1] for worker in workers]
        if all(latest) and sorted(chain(*latest)) == [*range(PARTITIONS)]:
            break
        assert time.monotonic() < deadline, latest
        await asyncio.sleep(0.1)
    await asyncio.gather(*(worker.is_ready() for worker in workers))


async def _until_all_served(traffic: Traffic, since: float = 0.0) -> None:
    """Wait until each partition has an outcome of a later time than ``since``."""
    deadline = time.monotonic() + 300
    while len({each.partition for each in traffic.seen if each.at > since}) < PARTITIONS:
        assert time.monotonic() < deadline, traffic.longest_gaps(since)
        await asyncio.sleep(0.05)
    await asyncio.sleep(_SETTLED)


def main() -> int:
    """Run one kind of interruption in all its variants, and print a line of figures for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.interruptions")
    parser.add_argument("kind", choices=["rolling-restart", "worker-killed", "broker-away"])
    parser.add_argument("--seconds", nargs="+", type=float, default=[10.0])
    parser.add_argument("--how", nargs="+", choices=["kill", "freeze"], default=["kill", "freeze"])
    asked = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, Reaper() as reaper:
        kafka = RunningKafka(Path(folder) / "kafka", reaper)
        model = write_tiny_checkpoint(Path(folder) / "model")
        kafka.start()
        try:
            for name, run in _variants(asked, kafka):
                figures = asyncio.run(_run(kafka, model, Path(folder), run))
                shown = ", ".join(f"{key} {round(value, 2)}" for key, value in asdict(figures).items())
                typer.echo(f"{asked.kind} {name}: {shown}")
        finally:
            kafka.stop()
    return 0


_Run = Callable[[Bench], Awaitable[Any]]


def _variants(asked: argparse.Namespace, kafka: RunningKafka) -> list[tuple[str, _Run]]:
    if asked.kind == "broker-away":
        return [
            (
                f"{how} {seconds:.0f} s, {delivery}",
                lambda bench, a=(delivery, seconds), how=how: broker_away(bench, kafka, *a, how=how),
            )
            for seconds, how, delivery in product(asked.seconds, asked.how, Delivery)
        ]
    if asked.kind == "rolling-restart":
        return [
            (
                f"{'static' if static else 'dynamic'}, {delivery}",
                lambda bench, delivery=delivery, static=static: rolling_restart(
                    bench, delivery, static=static
                ),
            )
            for delivery, static in product(Delivery, (False, True))
        ]
    return [
        (
            f"{'static' if static else 'dynamic'}, {'started again' if again else 'gone'}, {delivery}",
            lambda bench, delivery=delivery, static=static, again=again: worker_killed(
                bench, delivery, static=static, restarted=again
            ),
        )
        for delivery, static, again in product(Delivery, (False, True), (False, True))
    ]


async def _run(kafka: RunningKafka, model: Path, folder: Path, run: _Run) -> Any:
    name = Path(tempfile.mkdtemp(dir=folder))
    async for bench in bench_at(kafka.bootstrap, model, name):
        return await run(bench)
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
