"""Plots as SVG, to be put into a page that says what their classes look like."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from stream.evaluation.reliability import Reliability

Point = tuple[float, float]

_SIDE = 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 44, 12, 12, 40
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_RADIUS, _GROWTH = 3.0, 9.0
_BAR, _GAP, _NAMES, _FIGURES = 18, 8, 150, 60


def reliability_plot(reliabilities: Mapping[str, Reliability]) -> str:
    """Mean score of each bin across, the share of its entities that is right up; the diagonal is perfect.

    A dot's area tells how many entities are in its bin.

    Args:
        reliabilities: By name, at most two.
    """
    pieces = [_line("ideal", [(0, 0), (1, 1)])]
    for number, (name, reliability) in enumerate(reliabilities.items()):
        points = [(each.score, each.right) for each in reliability.bins]
        titles = [
            f"{name}: {each.entities} entities, score {each.score:.3f}, right {each.right:.3f}"
            for each in reliability.bins
        ]
        sizes = [
            _RADIUS + _GROWTH * math.sqrt(each.entities / reliability.entities) for each in reliability.bins
        ]
        pieces += [_line(f"series{number}", points), _dots(f"series{number}", points, titles, sizes)]
    return _square("Score against the share that is right", "score", "right", "".join(pieces))


def share_plot(title: str, across: str, lines: Mapping[str, Sequence[Point]], level: float) -> str:
    """Lines of values in [0, 1] over shares in [0, 1], and a dashed line at one level.

    Args:
        title: Read out by screen readers.
        across: Name of the horizontal axis.
        lines: Points by name; the name stands at the last of them.
        level: What the lines are held against.
    """
    pieces = [_line("ideal", [(0, level), (1, level)])]
    for number, (name, points) in enumerate(lines.items()):
        titles = [f"{name}, {x:.0%}: {100 * y:.2f}" for x, y in points]
        sizes = [_RADIUS] * len(points)
        pieces += [_line(f"series{number}", points), _dots(f"series{number}", points, titles, sizes)]
        x, y = _place(points[-1])
        pieces.append(f'<text x="{x - 6:.1f}" y="{y - 6:.1f}" text-anchor="end">{escape(name)}</text>')
    return _square(title, across, "F1", "".join(pieces))


def bars(title: str, values: Mapping[str, float]) -> str:
    """Horizontal bars of values in [0, 1], in percent.

    Args:
        title: Read out by screen readers.
        values: By name.
    """
    width = _NAMES + _SIDE + _FIGURES
    height = len(values) * (_BAR + _GAP)
    pieces = []
    for row, (name, value) in enumerate(values.items()):
        top = row * (_BAR + _GAP)
        length = _SIDE * value
        pieces.append(
            f'<text x="{_NAMES - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="bar" x="{_NAMES}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="3"/>'
            f'<text x="{_NAMES + length + 6:.1f}" y="{top + 14}">{100 * value:.2f}</text>'
        )
    return _svg(title, width, height, "".join(pieces))


def _square(title: str, across: str, up: str, drawn: str) -> str:
    width, height = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM
    grid = "".join(map(_tick, _TICKS))
    names = (
        f'<text x="{_LEFT + _SIDE / 2}" y="{height - 4}" text-anchor="middle">{escape(across)}</text>'
        f'<text transform="translate(11 {_TOP + _SIDE / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>"
    )
    return _svg(title, width, height, grid + names + drawn)


def _tick(value: float) -> str:
    x, y = _place((value, value))
    right, bottom = _LEFT + _SIDE, _TOP + _SIDE
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>'
    )


def _svg(title: str, width: float, height: float, drawn: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img"><title>{escape(title)}</title>'
        f"{drawn}</svg>"
    )


def _line(name: str, points: Sequence[Point]) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(_place, points))
    return f'<polyline class="line {name}" points="{places}"/>'


def _dots(name: str, points: Sequence[Point], titles: Sequence[str], radii: Sequence[float]) -> str:
    """Dots that tell their figures when they are pointed at."""
    return "".join(
        f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
        f"<title>{escape(title)}</title></circle>"
        for (x, y), title, radius in zip(map(_place, points), titles, radii, strict=True)
    )


def _place(point: Point) -> Point:
    return _LEFT + _SIDE * point[0], _TOP + _SIDE * (1 - point[1])
