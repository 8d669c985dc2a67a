"""When the tokens of an answer were known, as SVG: a column a token, a row a pass."""

from html import escape
from itertools import accumulate

from rich.cells import cell_len

from stream.cli.render import printable
from stream.evaluation.explanation import Fixing

_LEFT, _TOP, _ROW, _CELL, _PADDING = 70, 34, 30, 8, 12


def as_svg(fixing: Fixing) -> str:
    """Draw an answer; the line goes down where a token had to wait for one before it."""
    tokens = [printable(token) for token in fixing.tokens]
    widths = [_CELL * max(1, cell_len(token)) + _PADDING for token in tokens]
    *lefts, end = accumulate(widths, initial=_LEFT)
    middles = [
        (left + width / 2, _middle(number))
        for left, width, number in zip(lefts, widths, fixing.passes, strict=True)
    ]
    boxes = (
        f'<rect x="{x - width / 2 + 2:g}" y="{y - 11:g}" width="{width - 4}" height="22" rx="4"/>'
        f'<text x="{x:g}" y="{y + 4:g}" text-anchor="middle" xml:space="preserve">{escape(token)}</text>'
        for (x, y), width, token in zip(middles, widths, tokens, strict=True)
    )
    rows = range(1, max(fixing.passes) + 1)
    passes = (
        f'<text class="axis" x="{_LEFT - 10}" y="{_middle(row) + 4:g}" text-anchor="end">pass {row}</text>'
        for row in rows
    )
    question = escape(printable(fixing.question))
    return (
        f'<svg role="img" font-family="ui-monospace,monospace" font-size="13" '
        f'viewBox="0 0 {end + 10} {_TOP + len(rows) * _ROW}" width="{end + 10}"><title>{question}</title>'
        f'<text x="0" y="18" font-weight="bold">{question}</text>{"".join(passes)}'
        f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y in middles)}"/>{"".join(boxes)}</svg>'
    )


def _middle(row: int) -> float:
    """Of the row of a pass."""
    return _TOP + (row - 0.5) * _ROW
