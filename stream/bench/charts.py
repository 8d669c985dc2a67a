"""Charts of benchmarks, as SVG files by name."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from stream.bench.growth import AXES, Axis
from stream.bench.measurement import Measured, shown
from stream.evaluation.charts import QUIET, Bar, as_svg, bar_chart


def decode_charts(measured: Mapping[str, Measured]) -> dict[str, str]:
    """Passes, milliseconds and documents a second.

    Args:
        measured: By strategy.
    """
    return {
        "decode-passes.svg": bar_chart(
            "Forward passes a document, one after the other",
            "mean; the line is the 95th percentile",
            [
                Bar(shown(name), {"mean": float(np.mean(each.passes))}, float(np.percentile(each.passes, 95)))
                for name, each in measured.items()
            ],
        ),
        "decode-ms.svg": bar_chart(
            "Milliseconds a document, one at a time",
            "mean, by part of a pass, and between passes; the line is the median",
            [
                Bar(shown(name), _parts(each), float(np.percentile(each.ms, 50)))
                for name, each in measured.items()
            ],
        ),
        "decode-rate.svg": _rates(measured),
    }


def _parts(measured: Measured) -> dict[str, float]:
    mean = float(np.mean(measured.ms))
    documents = len(measured.ms)
    parts = {part: 1000 * spent / documents for part, spent in measured.totals.seconds.items()}
    if not parts:
        return {"run": mean}
    # The longest part first, so that bars can be compared.
    first = {"run": parts.pop("run")}
    return {**first, **parts, "between": max(0.0, mean - first["run"] - sum(parts.values()))}


def _rates(measured: Mapping[str, Measured]) -> str:
    level = max(next(iter(measured.values())).documents_per_second)
    bars = [
        Bar(shown(name), {"documents/s": each.documents_per_second[level]}, each.documents_per_second[1])
        for name, each in measured.items()
    ]
    return bar_chart("Documents a second", f"{level} in flight; the line is one at a time", bars)


def growth_charts(axes: Mapping[str, Axis]) -> dict[str, str]:
    """A chart of every axis."""
    return {f"growth-{name.replace('_', '-')}.svg": _growth(name, axis) for name, axis in axes.items()}


def _growth(name: str, axis: Axis) -> str:
    """Cost by size, both on logarithmic scales; dashed is growth in proportion from the first point."""
    points = [(point.size, point.ms) for point in axis if point.size]
    sizes, costs = zip(*points, strict=True)

    def draw(figure: Figure) -> None:
        plot = figure.subplots()
        plot.set_title(f"Milliseconds a document, by {AXES[name]}")
        plot.set_xlabel(AXES[name])
        plot.set_ylabel("ms")
        plot.set_xscale("log")
        plot.set_yscale("log")
        plot.set_xticks(sizes, list(map(str, sizes)))
        plot.set_xticks([], minor=True)
        plot.yaxis.set_major_formatter("{x:g}")
        plot.yaxis.set_minor_formatter("")
        plot.plot(sizes, _in_proportion(points), color=QUIET, linestyle="--", linewidth=1)
        plot.plot(sizes, costs, marker="o", markersize=5)

    return as_svg(draw, width=7, height=4)


def _in_proportion(points: Sequence[tuple[int, float]]) -> list[float]:
    first, cost = points[0]
    return [cost * size / first for size, _ in points]
