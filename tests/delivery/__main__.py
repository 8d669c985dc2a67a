"""Runs of all faults on one broker, planted bugs, and the matrix on three brokers; and what was found.

python -m tests.delivery [faults] [planted] [matrix] [--faults kill freeze] [--summary docs/faults]
"""

import argparse
import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby, islice
from pathlib import Path

import typer

from stream.local.reaper import Reaper
from stream.settings import Delivery
from tests.delivery import matrix
from tests.delivery.driver import run_under
from tests.delivery.faults import FAULTS, TRITON_FAULTS
from tests.delivery.outcome import HEADINGS, Outcome, Outcomes
from tests.delivery.planted import PLANTED
from tests.integration.kafka_cluster import RunningCluster
from tests.integration.kafka_fixture import RunningKafka
from tests.integration.triton_fixture import RunningTriton, UnloadableTriton, scripted_repository
from tests.tiny_model import write_tiny_checkpoint

_ROLE_FAULTS = {name for name in FAULTS if name.endswith(("_stop", "_kill"))}  # the matrix has them


def main() -> int:
    """Run what is asked for; returns 1 where a promise was broken or a planted bug was not found."""
    asked = _asked()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends the workers, too
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # each try while the broker is away
    for old in ("kafka", "cluster") if asked.resume else (".",):
        shutil.rmtree(asked.folder / old, ignore_errors=True)
    asked.folder.mkdir(parents=True, exist_ok=True)
    model = write_tiny_checkpoint(asked.folder / "model")
    outcomes = Outcomes(asked.folder)
    typer.echo(HEADINGS)
    parts = {"faults": _faults, "planted": _planted, "matrix": _matrix}
    for part in asked.parts or parts:
        for outcome in parts[part](asked, model, outcomes):
            outcomes.add(outcome)
            typer.echo(outcome.row())
            if asked.summary:
                outcomes.summarise(asked.summary)
    typer.echo(f"{outcomes.expected} of {len(outcomes)} runs as expected; their logs are in {asked.folder}")
    return int(outcomes.expected < len(outcomes))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.delivery", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="faults, planted, matrix; all of them by default")
    parser.add_argument("--faults", nargs="*", choices=[*FAULTS], help="all by default")
    bugs = sorted({each.bug for each in PLANTED})
    parser.add_argument("--bugs", nargs="*", choices=bugs, default=bugs)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2], help="of each fault")
    parser.add_argument("--documents", type=int, default=600, help="of each run of a fault")
    parser.add_argument("--delivery", nargs="+", type=Delivery, choices=[*Delivery], default=[*Delivery])
    parser.add_argument("--matrix-documents", type=int, default=1300, help="of each run of the matrix")
    parser.add_argument("--matrix-seeds", nargs="+", type=int, default=matrix.SEEDS)
    parser.add_argument(
        "--at-once", type=int, default=os.cpu_count(), help="runs of the matrix that go on at once"
    )
    parser.add_argument("--pace", type=float, default=40, help="documents a second")
    parser.add_argument("--folder", type=Path, default=Path(".padellm/faults"), help="for journals and logs")
    parser.add_argument("--resume", action="store_true", help="run what has no outcome in the folder yet")
    parser.add_argument("--summary", type=Path, help="folder for the table and the log of kills")
    return parser.parse_args()


def _faults(asked: argparse.Namespace, model: Path, known: Outcomes) -> Iterator[Outcome]:
    """Each fault with each seed and delivery, on one broker."""
    with _broker(asked.folder) as broker, ExitStack() as servers:
        triton = None
        names = asked.faults or FAULTS.keys() - _ROLE_FAULTS
        for fault in sorted(names, key=lambda name: (name in TRITON_FAULTS, name)):
            if fault in TRITON_FAULTS and triton is None:
                triton = servers.enter_context(_triton(asked.folder, model))
            for seed in asked.seeds:
                for delivery in asked.delivery:
                    outcome = Outcome("faults", fault, seed, delivery)
                    if outcome in known:
                        continue
                    yield asyncio.run(
                        outcome.of(
                            run_under(
                                fault,
                                seed,
                                broker,
                                model,
                                outcome.folder(asked.folder),
                                count=asked.documents,
                                pace=asked.pace,
                                delivery=delivery,
                                triton=triton,
                            )
                        )
                    )


def _planted(asked: argparse.Namespace, model: Path, known: Outcomes) -> Iterator[Outcome]:
    """Each planted bug under the fault that brings it to light, on one broker."""
    with _broker(asked.folder) as broker:
        for each in (each for each in PLANTED if each.bug in asked.bugs):
            outcome = Outcome(
                "planted", each.fault, each.seed, each.delivery, bug=each.bug, expected=each.anomaly
            )
            if outcome in known:
                continue
            yield asyncio.run(
                outcome.of(
                    run_under(
                        each.fault,
                        each.seed,
                        broker,
                        model,
                        outcome.folder(asked.folder),
                        count=asked.documents,
                        pace=asked.pace,
                        delivery=each.delivery,
                        bug=each.bug,
                    )
                )
            )


def _matrix(asked: argparse.Namespace, model: Path, known: Outcomes) -> Iterator[Outcome]:
    """Each cell with each seed, on three brokers; of a fault and a seed as many runs at once as asked for."""
    outcomes = (
        Outcome("matrix", fault, seed, cell.delivery, cell=cell, ordered=cell.ordered)
        for fault, seed, cell in matrix.runs()
        if seed in asked.matrix_seeds and fault in (asked.faults or FAULTS)
    )
    missing = (outcome for outcome in outcomes if outcome not in known)
    with Reaper() as reaper:
        cluster = RunningCluster(asked.folder / "cluster", reaper)
        cluster.start()
        try:
            for _, alike in groupby(missing, lambda outcome: (outcome.fault, outcome.seed)):
                while some := list(islice(alike, asked.at_once)):
                    yield from asyncio.run(_at_once(some, asked, cluster, model))
        finally:
            cluster.stop()


async def _at_once(
    outcomes: list[Outcome], asked: argparse.Namespace, cluster: RunningCluster, model: Path
) -> list[Outcome]:
    """Some runs of one fault and seed; a fault of the brokers hits all of them."""
    inject = FAULTS[outcomes[0].fault]
    if outcomes[0].cell.part == "broker":
        inject = matrix.SharedFault(inject, len(outcomes))
    return await asyncio.gather(
        *(
            outcome.of(
                run_under(
                    outcome.fault,
                    outcome.seed,
                    cluster,
                    model,
                    outcome.folder(asked.folder),
                    count=asked.matrix_documents,
                    inject=inject,
                    partitions=matrix.PARTITIONS,
                    pace=matrix.PACE,
                    burst=matrix.BURST,
                    delivery=outcome.delivery,
                    ordered=outcome.ordered,
                )
            )
            for outcome in outcomes
        )
    )


@contextmanager
def _broker(folder: Path) -> Iterator[RunningKafka]:
    """One broker."""
    with Reaper() as reaper:
        broker = RunningKafka(folder / "kafka", reaper)
        broker.start()
        try:
            yield broker
        finally:
            broker.stop()


@contextmanager
def _triton(folder: Path, model: Path) -> Iterator[RunningTriton]:
    """A Triton that has the scripted model."""
    models = scripted_repository(folder / "repository")
    with Reaper() as reaper:
        triton = RunningTriton(folder / "triton", model, reaper, models=models, kind=UnloadableTriton)
        triton.start()
        try:
            yield triton
        finally:
            triton.stop()


if __name__ == "__main__":
    sys.exit(main())
