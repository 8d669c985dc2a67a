"""A bar chart as SVG: a bar a row, of one part or of several end to end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_LABELS, _BAR, _RIGHT = 170, 400, 90
_TOP, _ROW, _THICK = 74, 26, 16
_COLOURS = ("#3a86c8", "#e0a33a", "#8d7fd1", "#4cae6c", "#9aa3b2")
_STYLE = "text{font:13px system-ui,sans-serif;fill:#1d2433}.mark{stroke:#1d2433;stroke-width:2}"


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
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
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
