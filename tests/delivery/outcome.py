"""What came of the runs: a row each, a table of the matrix, and the log of every deed with its seed."""

import json
import shutil
import traceback
from collections import Counter, defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stream.settings import Delivery
from tests.delivery.driver import Verdict
from tests.delivery.matrix import Cell

_ROW = "{:<58} {:>4} {:>9} {:>6} {:>5} {:>7} {:>5} {:>7}  {}"
HEADINGS = _ROW.format("run", "seed", "documents", "events", "dead", "repeats", "deeds", "seconds", "found")
_KINDS = "document", "event", "dead_letter", "repeat"


@dataclass(frozen=True)
class Outcome:
    """A run of the harness, before and after.

    Attributes:
        part: ``faults``, ``planted`` or ``matrix``.
        fault: Name of the fault.
        seed: Its seed.
        delivery: What the workers promise.
        ordered: Whether the order of a key is promised.
        bug: Planted bug.
        expected: Anomaly that must be found for the bug.
        cell: Cell of the matrix.
        counts: Documents, events, dead letters and repeats.
        found: Records by anomaly.
        actions: Deeds of the fault, with seconds since the run's start.
        seconds: Length of the run.
        error: Cause for which the run came to no end.
    """

    part: str
    fault: str
    seed: int
    delivery: Delivery
    ordered: bool = False
    bug: str | None = None
    expected: str | None = None
    cell: Cell | None = None
    counts: Counter[str] = field(default_factory=Counter)
    found: dict[str, int] = field(default_factory=dict)
    actions: tuple[dict[str, Any], ...] = ()
    seconds: float = 0
    error: str = ""

    async def of(self, run: Awaitable[Verdict]) -> "Outcome":
        """Itself with what the run came to."""
        try:
            verdict = await run
        except Exception as error:  # noqa: BLE001 - the other runs go on, and this one has failed
            traceback.print_exc()
            return replace(self, error=f"no end: {error!r}"[:200])
        return replace(
            self,
            counts=verdict.counts,
            found={anomaly: len(records) for anomaly, records in verdict.found.items()},
            actions=tuple(verdict.actions),
            seconds=verdict.seconds,
        )

    @property
    def name(self) -> str:
        """Fault, delivery, order and bug in words."""
        order = " in order" if self.ordered else ""
        bug = f" with {self.bug}" if self.bug else ""
        return f"{self.fault}, {self.delivery}{order}{bug}"

    @property
    def is_expected(self) -> bool:
        """Whether the promise was kept, or the planted bug was found."""
        if self.error:
            return False
        return not self.found if self.expected is None else self.expected in self.found

    def folder(self, parent: Path) -> Path:
        """Make the folder for its journals and logs, empty."""
        folder = parent / f"{self.part}-{self.name.replace(', ', '-').replace(' ', '-')}-{self.seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def row(self) -> str:
        """A line of the table that a person watches."""
        return _ROW.format(
            self.name,
            self.seed,
            *(self.counts[kind] for kind in _KINDS),
            len(self.actions),
            f"{self.seconds:.0f}",
            self.findings(),
        )

    def findings(self) -> str:
        """Anomalies with their numbers, or a dash."""
        return self.error or ", ".join(f"{n} {anomaly}" for anomaly, n in self.found.items()) or "-"

    def lines(self) -> list[str]:
        """JSON Lines: each deed with the run and its seed."""
        run = {"fault": self.fault, "seed": self.seed, "delivery": self.delivery, "ordered": self.ordered}
        if self.bug:
            run["bug"] = self.bug
        return [json.dumps({**run, **action}) + "\n" for action in self.actions]


class Outcomes:
    """All outcomes so far, kept in a file.

    Args:
        folder: For ``outcomes.jsonl`` and ``kills.jsonl``, which grow with each; what is there is taken in.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "outcomes.jsonl"
        self._log = folder / "kills.jsonl"
        self._file.touch()
        self._outcomes = [_OUTCOME.validate_json(line) for line in self._file.read_bytes().splitlines()]

    def __len__(self) -> int:
        return len(self._outcomes)

    def __contains__(self, outcome: Outcome) -> bool:
        return any(_key(each) == _key(outcome) for each in self._outcomes)

    @property
    def expected(self) -> int:
        """Number of those that are as expected."""
        return sum(outcome.is_expected for outcome in self._outcomes)

    def add(self, outcome: Outcome) -> None:
        """Take an outcome in; one that came to no end is only counted now."""
        self._outcomes.append(outcome)
        if not outcome.error:
            with self._file.open("ab") as lines:
                lines.write(_OUTCOME.dump_json(outcome) + b"\n")
        with self._log.open("a", encoding="utf-8") as lines:
            lines.writelines(outcome.lines())

    def summarise(self, folder: Path) -> None:
        """Write ``kills.jsonl`` and ``runs.md``: the matrix, the planted bugs and all runs."""
        folder.mkdir(parents=True, exist_ok=True)
        deeds = "".join(line for outcome in self._outcomes for line in outcome.lines())
        (folder / "kills.jsonl").write_text(deeds, encoding="utf-8")
        total = sum((outcome.counts for outcome in self._outcomes), Counter())
        sections = [
            "# Runs of the fault harness",
            'This page is generated: `make faults FAULTS_ARGS="--summary docs/faults"` makes it anew.',
            "[kills.jsonl](kills.jsonl) has every deed with the seed of its run.",
            f"{len(self)} runs with {total['document']:,} documents; {self.expected} as expected.",
            *self._matrix(),
            *self._planted(),
            "## Every run",
            _table(
                (
                    "Run",
                    "Seed",
                    "Documents",
                    "Events",
                    "Dead letters",
                    "Repeats",
                    "Deeds",
                    "Seconds",
                    "Found",
                ),
                [
                    (
                        each.name,
                        each.seed,
                        *(each.counts[kind] for kind in _KINDS),
                        len(each.actions),
                        f"{each.seconds:.0f}",
                        each.findings(),
                    )
                    for each in self._outcomes
                ],
            ),
        ]
        (folder / "runs.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")

    def _matrix(self) -> list[str]:
        cells: dict[Cell, list[Outcome]] = defaultdict(list)
        for outcome in self._outcomes:
            if outcome.cell is not None:
                cells[outcome.cell].append(outcome)
        if not cells:
            return []
        rows = []
        for cell, runs in sorted(cells.items()):
            counts = sum((run.counts for run in runs), Counter())
            found = sum((Counter(run.found) for run in runs), Counter())
            rows.append(
                (
                    cell.delivery,
                    "a key's" if cell.ordered else "none",
                    cell.part,
                    cell.way,
                    ", ".join(str(run.seed) for run in runs),
                    counts["document"],
                    found["lost_documents"] + found["unseen_documents"],
                    counts["repeat"],
                    found["torn_transactions"],
                    sum(not run.is_expected for run in runs),
                )
            )
        head = (
            "Delivery",
            "Order",
            "Part",
            "End",
            "Seeds",
            "Documents",
            "Lost",
            "Repeats",
            "Torn",
            "Runs with any anomaly",
        )
        return ["## The matrix, on three brokers", _table(head, rows)]

    def _planted(self) -> list[str]:
        rows = [
            (each.bug, each.fault, each.seed, each.delivery, each.expected, each.findings())
            for each in self._outcomes
            if each.bug
        ]
        head = "Bug", "Fault", "Seed", "Delivery", "Anomaly that must be found", "Found"
        return ["## Planted bugs", _table(head, rows)] if rows else []


_OUTCOME = TypeAdapter(Outcome)


def _key(outcome: Outcome) -> tuple[str, str, int]:
    return outcome.part, outcome.name, outcome.seed


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
