"""The log of a run: its lines, its curves, its progress bar, and early stopping."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from types import TracebackType
from typing import Any, Self

import structlog
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor

from stream.evaluation.charts import as_svg
from stream.training.packing import LOSSES, PackedBatch

log = structlog.get_logger(__name__)


class Metrics:
    """Appends lines, each with the ``step`` it was written at and an ``event``.

    Args:
        path: The file; a run that goes on adds to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, step: int, **values: Any) -> None:
        """Add a line, and log it."""
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step, "event": event, **values}) + "\n")
        log.info(event, step=step, **values)

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines; a line that a kill cut short is left out."""
        if not self._path.exists():
            return []
        whole = self._path.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def rewind(self, step: int) -> None:
        """Drop the lines after a step, and half a line that a kill left: they will be written again."""
        if not self._path.exists():
            return
        kept = [json.dumps(line) + "\n" for line in self.lines() if line["step"] <= step]
        fresh = self._path.with_suffix(".part")
        fresh.write_text("".join(kept), encoding="utf-8")
        fresh.rename(self._path)


class StepMeans:
    """Means over the steps since the last line of the log; no device is waited for until they are read."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Tensor]] = []
        self._tokens: list[int] = []
        self._documents: list[int] = []

    def add(self, parts: dict[str, Tensor], batch: PackedBatch) -> None:
        """Add a step: the parts of its loss, and its batch."""
        self._parts.append(parts)
        self._tokens.append(batch.ids.size)
        self._documents.append(batch.documents)

    def read(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Losses, tokens and documents of a step, on average.

        Args:
            total: Sums a loss over all processes.
        """
        losses = {
            name: float(total(torch.stack([parts[name] for parts in self._parts]).mean()))
            for name in self._parts[0]
        }
        sizes = {"tokens": mean(self._tokens), "documents": mean(self._documents)}
        return {name: round(value, 4) for name, value in (losses | sizes).items()}


SAMPLE = "sample"
"""The event of ``metrics.jsonl`` that holds the score of an export."""


class EarlyStopping:
    """Early stopping by the scores of exports in a run's log, which a resumed run finds there.

    Args:
        metrics: The log.
        patience: After so many exports without a better F1 than the best before them the run stops; None:
            never.
    """

    def __init__(self, metrics: Metrics, patience: int | None) -> None:
        self._metrics = metrics
        self._patience = patience

    @property
    def keeps_best(self) -> bool:
        """True where the best export is kept, and not the last."""
        return self._patience is not None

    def improves(self, f1: float) -> bool:
        """Compare an F1 with all before it."""
        return f1 > max(self._scores(), default=-1.0)

    def is_due(self) -> bool:
        """True when the patience is used up, and the run should stop."""
        scores = self._scores()
        if self._patience is None or not scores:
            return False
        return len(scores) - 1 - scores.index(max(scores)) >= self._patience

    def has_score(self, step: int) -> bool:
        """Look for the score of a step's export."""
        return any(line["event"] == SAMPLE and line["step"] == step for line in self._metrics.lines())

    def _scores(self) -> list[float]:
        return [line["f1"] for line in self._metrics.lines() if line["event"] == SAMPLE]


class Progress:
    """Steps done of all, time left, and the last score.

    Args:
        steps: Of the run.
        shown: False for a process that leaves the terminal to another.
    """

    def __init__(self, steps: int, *, shown: bool) -> None:
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[score]}"),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task("", total=steps, score="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Show that so many steps are done."""
        self._bar.update(self._task, completed=step)

    def score(self, f1: float) -> None:
        """Show the F1 of the latest export."""
        self._bar.update(self._task, score=f"dev F1 {f1:.1f}")


_SCORES = {"f1": "F1", "count_accuracy_present": "counts right, of those above 0"}
Line = dict[str, Any]


def draw_curves(lines: Sequence[Line], path: Path) -> None:
    """Draw the lines of ``metrics.jsonl`` as SVG.

    Args:
        lines: Of one run; scores on the whole development set are squares.
        path: The file.
    """

    def draw(figure: Figure) -> None:
        losses, scores = figure.subplots(2, 1, sharex=True)
        _draw_losses(losses, [line for line in lines if line["event"] == "step"])
        _draw_scores(scores, lines)
        scores.set_xlabel("steps")
        for axes in (losses, scores):
            if axes.get_legend_handles_labels()[0]:
                axes.legend()

    path.write_text(as_svg(draw, width=9, height=7), encoding="utf-8")


def _draw_losses(axes: Axes, lines: Sequence[Line]) -> None:
    axes.set_ylabel("loss (nats a token)")
    for name in LOSSES:
        known = [line for line in lines if name in line]
        if known:
            axes.plot([line["step"] for line in known], [line[name] for line in known], label=name)


def _draw_scores(axes: Axes, lines: Sequence[Line]) -> None:
    axes.set_ylabel("development set (%)")
    axes.set_ylim(0, 100)
    for number, (name, label) in enumerate(_SCORES.items()):
        for event, marker in (("sample", "."), ("dev", "s")):
            known = [line for line in lines if line["event"] == event]
            if known:
                axes.plot(
                    [line["step"] for line in known],
                    [line[name] for line in known],
                    marker=marker,
                    color=f"C{number}",
                    label=f"{label}, a sample" if event == "sample" else label,
                )
