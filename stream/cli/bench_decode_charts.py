"""Charts of ``padellm bench decode``."""

from pathlib import Path

import numpy as np

from stream.errors import ConfigurationError
from stream.evaluation.bar_chart import Bar, bar_chart
from stream.evaluation.benchmark import Measured
from stream.evaluation.strategies import GOLD


def draw(measured: dict[str, Measured], folder: Path) -> None:
    """Write ``decode-passes.svg``, ``decode-ms.svg`` and ``decode-rate.svg``.

    Args:
        measured: By strategy.
        folder: Where to; made if it is not there.

    Raises:
        ConfigurationError: It cannot be written.
    """
    charts = {"passes": _passes(measured), "ms": _milliseconds(measured), "rate": _rates(measured)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, chart in charts.items():
            (folder / f"decode-{name}.svg").write_text(chart, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"--svg {folder} cannot be written: {error.strerror}") from error


def _passes(measured: dict[str, Measured]) -> str:
    bars = [
        Bar(_shown(name), {"mean": float(np.mean(each.passes))}, float(np.percentile(each.passes, 95)))
        for name, each in measured.items()
    ]
    return bar_chart(
        "Forward passes a document, one after the other", "mean; the line is the 95th percentile", bars
    )


def _milliseconds(measured: dict[str, Measured]) -> str:
    return bar_chart(
        "Milliseconds a document, one at a time",
        "mean, by part of a pass, and between passes; the line is the median",
        [
            Bar(_shown(name), _parts(each), float(np.percentile(each.ms, 50)))
            for name, each in measured.items()
        ],
    )


def _parts(measured: Measured) -> dict[str, float]:
    mean = float(np.mean(measured.ms))
    documents = len(measured.ms)
    # What takes long comes first, so that bars can be compared.
    parts = {part: 1000 * spent / documents for part, spent in measured.totals.seconds.items()}
    if not parts:
        return {"run": mean}
    first = {"run": parts.pop("run")}
    return {**first, **parts, "between": max(0.0, mean - first["run"] - sum(parts.values()))}


def _rates(measured: dict[str, Measured]) -> str:
    level = max(next(iter(measured.values())).documents_per_second)
    bars = [
        Bar(_shown(name), {"documents/s": each.documents_per_second[level]}, each.documents_per_second[1])
        for name, each in measured.items()
    ]
    return bar_chart("Documents a second", f"{level} in flight; the line is one at a time", bars)


def _shown(name: str) -> str:
    return name.replace(GOLD, ", gold")
