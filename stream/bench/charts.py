"""Charts of benchmarks, as SVG files by name."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from stream.bench.growth import AXES, Axis
from stream.bench.load import Serving
from stream.bench.measurement import Measured, shown
from stream.bench.soak import Sample
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


def serve_charts(
    at_rates: Mapping[float, Mapping[str, Serving]], most: Mapping[str, float]
) -> dict[str, str]:
    """Latency against the rate of arrival, a panel for each way.

    Args:
        at_rates: Runs by rate, in documents a second, and by way; at least one.
        most: Documents a second at saturation, by way.
    """

    def draw(figure: Figure) -> None:
        figure.suptitle("Milliseconds from a document's due arrival to its result", x=0.01, ha="left")
        for plot, way in zip(figure.subplots(1, len(most), sharey=True), most, strict=True):
            runs = [by_way[way] for by_way in at_rates.values()]
            plot.set_title(f"through {way}")
            plot.set_xlabel("arrivals a second")
            plot.set_yscale("log")
            plot.yaxis.set_major_formatter("{x:g}")
            plot.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False))
            for name, percentile in _PERCENTILES.items():
                plot.plot(list(at_rates), [percentile(run) for run in runs], marker="o", label=name)
            plot.axvline(most[way], color=QUIET, linestyle="--", linewidth=1, label="saturation")
            plot.set_xlim(left=0)
        figure.legend(*plot.get_legend_handles_labels(), loc="outside lower center", ncols=4)

    return {"serve-rates.svg": as_svg(draw, width=9, height=4)}


_PERCENTILES: dict[str, Callable[[Serving], float]] = {
    "p50": lambda run: run.p50_ms,
    "p99": lambda run: run.p99_ms,
    "p99.9": lambda run: run.p999_ms,
}


def soak_charts(samples: Sequence[Sample]) -> dict[str, str]:
    """Memory of each process, lag and latency, one below the other, over the minutes of a run."""
    minutes = [sample.seconds / 60 for sample in samples]
    latencies = {
        "p50": [sample.p50_ms for sample in samples],
        "p99": [sample.p99_ms for sample in samples],
    }

    def draw(figure: Figure) -> None:
        memory, lag, latency = figure.subplots(3, 1, sharex=True)
        memory.set_title("Resident memory, MiB")
        for name in samples[-1].resident_mb:
            memory.plot(minutes, [sample.resident_mb.get(name, np.nan) for sample in samples], label=name)
        memory.set_ylim(bottom=0)
        memory.legend(ncols=4)
        lag.set_title("Documents without an outcome")
        lag.plot(minutes, [sample.lag for sample in samples])
        lag.set_ylim(bottom=0)
        latency.set_title("Milliseconds from a document's due arrival to its event")
        for name, figures in latencies.items():
            latency.plot(minutes, figures, label=name)
        latency.set_yscale("log")
        latency.yaxis.set_major_formatter("{x:g}")
        latency.set_xlabel("minutes")
        latency.legend(ncols=2)

    return {"soak.svg": as_svg(draw, width=8, height=7)}
