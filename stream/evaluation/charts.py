"""Charts in one style, each an SVG file that needs no other."""

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1d2433"
QUIET = "#7a869a"
_COLOURS = ("#3a86c8", "#c8743a", "#8d7fd1", "#4cae6c", "#9aa3b2")
_LONGEST_NAME = 40

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "padellm",  # the same figures give the same file
    "text.parse_math": False,  # a dollar sign in a label is one
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=_COLOURS),
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": "medium",
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def as_svg(draw: Callable[[Figure], None], *, width: float, height: float) -> str:
    """Draw a figure in the common style.

    Args:
        draw: Fills the figure.
        width: In inches.
        height: In inches.
    """
    svg = io.StringIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        # The reader's fonts show the text; only its measured width is of a font without the glyph.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return svg.getvalue()


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar chart.

    Attributes:
        name: Before the bar.
        parts: Lengths by part, from left to right.
        mark: A line across the row, such as a percentile; None draws none.
    """

    name: str
    parts: dict[str, float]
    mark: float | None = None

    @property
    def total(self) -> float:
        """Length of the whole bar."""
        return sum(self.parts.values())


def bar_chart(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """Draw horizontal bars from 0, each with its total behind it.

    Args:
        title: Above the chart.
        unit: Unit of the lengths, and the meaning of the marks.
        bars: At least one; parts of one name have one colour.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_title(title)
        axes.set_xlabel(unit)
        axes.grid(visible=False, axis="y")
        axes.set_yticks(range(len(bars)), [_printable(bar.name) for bar in bars])
        axes.set_xlim(0, 1.1 * max(max(bar.total, bar.mark or 0.0) for bar in bars) or 1.0)
        axes.set_ylim(len(bars) - 0.5, -0.5)
        if len(parts := _draw_bars(axes, bars)) > 1:
            figure.legend(loc="outside lower center", ncols=len(parts))

    return as_svg(draw, width=7, height=1.3 + 0.28 * len(bars))


def _draw_bars(axes: Axes, bars: Sequence[Bar]) -> list[str]:
    """Draw the bars of all rows, part by part; the parts."""
    names = list(dict.fromkeys(part for bar in bars for part in bar.parts))
    starts = [0.0] * len(bars)
    for name in names:
        lengths = [bar.parts.get(name, 0.0) for bar in bars]
        axes.barh(range(len(bars)), lengths, height=0.62, left=starts, label=name)
        starts = [start + length for start, length in zip(starts, lengths, strict=True)]
    for row, bar in enumerate(bars):
        if bar.mark is not None:
            axes.plot([bar.mark] * 2, [row - 0.4, row + 0.4], color=INK, linewidth=1.5)
        end = (max(bar.total, bar.mark or 0.0), row)
        axes.annotate(f"{bar.total:.3g}", end, (5, 0), textcoords="offset points", va="center")
    return names


def _printable(name: str) -> str:
    """A name as a chart can hold it: short, without characters that XML forbids."""
    shown = "".join(each if each.isprintable() else "\ufffd" for each in name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 1]}…"
