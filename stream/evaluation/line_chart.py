"""A line chart as SVG, both axes logarithmic: enough to see how a cost grows."""

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_STYLE = (
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
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
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
