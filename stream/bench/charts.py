"""SVG charts of benchmarks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from stream.bench.measurement import Measured
from stream.bench.strategies import GOLD
from stream.errors import ConfigurationError

_LABELS, _BAR, _RIGHT = 170, 400, 90
_TOP, _ROW, _THICK = 74, 26, 16
_COLOURS = ("#3a86c8", "#e0a33a", "#8d7fd1", "#4cae6c", "#9aa3b2")
_BAR_STYLE = "text{font:13px system-ui,sans-serif;fill:#1d2433}.mark{stroke:#1d2433;stroke-width:2}"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row.

    Attributes:
        name: Before the bar.
        parts: Lengths by part, from left to right.
        mark: A line across the row, such as a percentile; None: there is none.
    """

    name: str
    parts: Mapping[str, float]
    mark: float | None = None

    @property
    def total(self) -> float:
        """Length of the whole bar."""
        return sum(self.parts.values())


def bar_chart(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """Draw bars, on one scale from 0, each with its length behind it.

    Args:
        title: Above the chart.
        unit: What lengths are, with the meaning of marks.
        bars: At least one; parts of the same name have the same colour.
    """
    longest = max(max(bar.total, bar.mark or 0.0) for bar in bars) or 1.0
    names = list(dict.fromkeys(part for bar in bars for part in bar.parts))
    colours = dict(zip(names, _COLOURS, strict=False))
    width, height = _LABELS + _BAR + _RIGHT, _TOP + _ROW * len(bars) + 8
    rows = "".join(_row(bar, _TOP + _ROW * row, _BAR / longest, colours) for row, bar in enumerate(bars))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(title)}</title><style>{_BAR_STYLE}</style>"
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f'<text x="12" y="22" font-weight="bold">{escape(title)}</text>'
        f'<text x="12" y="42">{escape(unit)}</text>{_legend(colours)}{rows}</svg>\n'
    )


def _legend(colours: Mapping[str, str]) -> str:
    if len(colours) == 1:
        return ""
    return f'<text x="12" y="62">{"".join(_key(name, colour) for name, colour in colours.items())}</text>'


def _key(name: str, colour: str) -> str:
    return f'<tspan fill="{colour}">■ </tspan><tspan>{escape(name)}   </tspan>'


def _row(bar: Bar, top: int, scale: float, colours: Mapping[str, str]) -> str:
    pieces, at = [], float(_LABELS)
    for name, length in bar.parts.items():
        pieces.append(
            f'<rect x="{at:.1f}" y="{top}" width="{length * scale:.1f}" height="{_THICK}" '
            f'fill="{colours[name]}"><title>{escape(name)} {length:.3g}</title></rect>'
        )
        at += length * scale
    if bar.mark is not None:
        x = _LABELS + bar.mark * scale
        pieces.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 2}" y2="{top + _THICK + 2}"/>'
        )
        at = max(at, x)
    middle = top + _THICK - 4
    return (
        f'<text x="{_LABELS - 8}" y="{middle}" text-anchor="end">{escape(bar.name)}</text>{"".join(pieces)}'
        f'<text x="{at + 6:.1f}" y="{middle}">{bar.total:.3g}</text>'
    )


_WIDTH, _HEIGHT = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_LINE_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1d2433}.axis{stroke:#9aa3b2}.grid{stroke:#e3e7ee}"
    ".line{fill:none;stroke:#3a86c8;stroke-width:2}.linear{fill:none;stroke:#9aa3b2;stroke-dasharray:4 4}"
)


def line_chart(title: str, across: str, up: str, points: Sequence[tuple[float, float]]) -> str:
    """Draw points, joined, beside a dashed line that grows in proportion from the first of them.

    Args:
        title: Above the chart.
        across: Name of the horizontal axis.
        up: Name of the vertical axis.
        points: At least two, positive, from left to right.
    """
    first, last = points[0], points[-1]
    linear = (last[0], first[1] * last[0] / first[0])
    scale = _Scale([*points, linear])
    line = " ".join(scale.place(point) for point in points)
    dots = "".join(_dot(scale, point) for point in points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f"<title>{escape(title)}</title><style>{_LINE_STYLE}</style>"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
        f'<text x="{_LEFT}" y="22" font-weight="bold">{escape(title)}</text>{scale.grid()}'
        f'<polyline class="linear" points="{scale.place(first)} {scale.place(linear)}"/>'
        f'<polyline class="line" points="{line}"/>{dots}'
        f'<g text-anchor="middle"><text x="{_WIDTH / 2}" y="{_HEIGHT - 10}">{escape(across)}</text>'
        f'<text transform="translate(16 {_HEIGHT / 2}) rotate(-90)">{escape(up)}</text></g>'
        "</svg>\n"
    )


def _dot(scale: "_Scale", point: tuple[float, float]) -> str:
    x, y = scale.place(point).split(",")
    return (
        f'<circle cx="{x}" cy="{y}" r="3.5" fill="#3a86c8"><title>{point[0]:g}: {point[1]:g}</title></circle>'
    )


class _Scale:
    """Values to pixels; the axes go from power of ten to power of ten upwards, from end to end across."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        across, up = zip(*points, strict=True)
        self._across = (math.log10(min(across)), math.log10(max(across)))
        self._up = (math.floor(math.log10(min(up))), math.ceil(math.log10(max(up))))
        self._ticks = sorted(set(across))

    def place(self, point: tuple[float, float]) -> str:
        return f"{self._x(point[0]):.1f},{self._y(point[1]):.1f}"

    def grid(self) -> str:
        bottom = _HEIGHT - _BOTTOM
        lines = [
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
            for power in range(self._up[0], self._up[1] + 1)
            for y in (self._y(10.0**power),)
        ]
        lines += [
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
            f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>'
            for tick in self._ticks
            for x in (self._x(tick),)
        ]
        return "".join(lines)

    def _x(self, value: float) -> float:
        low, high = self._across
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (math.log10(value) - low) / ((high - low) or 1)

    def _y(self, value: float) -> float:
        low, high = self._up
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - math.log10(value)) / ((high - low) or 1)


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
