"""The matrix of faults, seeds and planted bugs: a table, and a log of every kill.

python -m tests.delivery [--faults kill freeze] [--seeds 1 2] [--documents 600] [--folder .padellm/faults]
"""

import argparse
import asyncio
import json
import logging
import shutil
import sys
from pathlib import Path

import typer

from stream.local.reaper import Reaper
from stream.settings import Delivery
from tests.delivery.driver import Verdict, run_under
from tests.delivery.faults import FAULTS
from tests.delivery.planted import PLANTED
from tests.integration.kafka_fixture import RunningKafka
from tests.tiny_model import write_tiny_checkpoint

_COLUMNS = "fault", "seed", "documents", "events", "dead", "repeats", "deeds", "seconds", "found"
_ROW = "{:<44} {:>4} {:>9} {:>6} {:>5} {:>7} {:>6} {:>7}  {}"


def main() -> int:
    """Run the matrix; returns 1 where a promise was broken or a planted bug was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.delivery", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", nargs="*", choices=[*FAULTS], default=[*FAULTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--pace", type=float, default=40, help="documents a second")
    parser.add_argument("--delivery", type=Delivery, choices=[*Delivery], default=Delivery.AT_LEAST_ONCE)
    parser.add_argument("--ordered", action="store_true", help="let documents share keys")
    parser.add_argument("--folder", type=Path, default=Path(".padellm/faults"))
    parser.add_argument("--no-planted", action="store_true", help="leave the planted bugs out")
    asked = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # each try while the broker is away
    shutil.rmtree(asked.folder, ignore_errors=True)
    cells = [(fault, seed, None, None) for fault in asked.faults for seed in asked.seeds]
    if not asked.no_planted:
        cells += [(each.fault, each.seed, each.bug, each.anomaly) for each in PLANTED]
    typer.echo(
        _ROW.format("fault", "seed", "documents", "events", "dead", "repeats", "deeds", "seconds", "found")
    )
    failed, log = 0, asked.folder / "kills.jsonl"
    with Reaper() as reaper:
        broker = RunningKafka(asked.folder / "kafka", reaper)
        model = write_tiny_checkpoint(asked.folder / "model")
        broker.start()
        try:
            for fault, seed, bug, expected in cells:
                name = f"{fault} with {bug}" if bug else fault
                folder = asked.folder / f"{name.replace(' ', '-')}-{seed}"
                folder.mkdir()
                verdict = asyncio.run(
                    run_under(
                        fault,
                        seed,
                        broker,
                        model,
                        folder,
                        count=asked.documents,
                        pace=asked.pace,
                        delivery=asked.delivery,
                        ordered=asked.ordered,
                        bug=bug,
                    )
                )
                _log(log, verdict, fault=fault, seed=seed, bug=bug)
                typer.echo(_row(name, seed, verdict))
                failed += bool(verdict.found) if expected is None else expected not in verdict.found
        finally:
            broker.stop()
    typer.echo(f"{len(cells) - failed} of {len(cells)} runs as expected; the log of kills is {log}")
    return int(failed > 0)


def _row(name: str, seed: int, verdict: Verdict) -> str:
    counts = verdict.counts
    shown = ", ".join(f"{len(records)} {anomaly}" for anomaly, records in verdict.found.items())
    return _ROW.format(
        name,
        seed,
        counts["document"],
        counts["event"],
        counts["dead_letter"],
        counts["repeat"],
        len(verdict.actions),
        f"{verdict.seconds:.0f}",
        shown or "-",
    )


def _log(file: Path, verdict: Verdict, **run: object) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.writelines(json.dumps({**run, **action}) + "\n" for action in verdict.actions)


if __name__ == "__main__":
    sys.exit(main())
