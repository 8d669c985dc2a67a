"""The log of a run as a picture: losses and scores over its steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stream.training.packing import LOSSES

_SCORES = {"f1": "F1", "count_accuracy_present": "counts right, of those above 0"}
Line = dict[str, Any]


def draw_curves(lines: Sequence[Line], path: Path) -> None:
    """Draw the lines of ``metrics.jsonl`` as SVG.

    Args:
        lines: Of one run; what was scored on all of the development set is drawn as a square.
        path: The file.
    """
    # Text as text, and the same file for the same lines.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "padellm"}):
        figure = Figure(figsize=(9, 7), layout="constrained")
        losses, scores = figure.subplots(2, 1, sharex=True)
        _draw_losses(losses, [line for line in lines if line["event"] == "step"])
        _draw_scores(scores, lines)
        scores.set_xlabel("steps")
        for axes in (losses, scores):
            axes.grid(alpha=0.3)
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
        figure.savefig(path, format="svg", metadata={"Date": None})


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
