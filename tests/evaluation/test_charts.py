"""Charts as SVG."""

import re
from xml.etree import ElementTree as ET

from stream.evaluation.charts import Bar, as_svg, bar_chart

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<a> & $\\frac$ \x00 東京"


def drawn(*bars):
    """A bar chart, parsed."""
    return ET.fromstring(bar_chart("Title & more", "ms", bars))


def widths(chart):
    """Width and left edge of every bar, by colour."""
    found = {}
    for path in chart.iter(f"{SVG}path"):
        colour = re.search(r"fill: (#\w{6})", path.get("style") or "")
        if path.get("clip-path") and colour:
            across = [float(x) for x in re.findall(r"[ML] ([\d.]+)", path.get("d"))]
            found.setdefault(colour[1], []).append((max(across) - min(across), min(across)))
    return found


def test_charts_bars_are_on_one_scale_from_zero():
    """A bar of twice the length is twice as wide, and the parts of a bar stand end to end."""
    first, second = widths(
        drawn(Bar("a", {"run": 1.0, "feed": 1.0}), Bar("b", {"run": 4.0}, mark=2.0))
    ).values()
    (one, left), (four, _) = first
    (feed, right), _ = second
    assert abs(four - 4 * one) < 0.01
    assert abs(feed - one) < 0.01
    assert abs(right - left - one) < 0.01


def test_charts_show_names_and_totals_as_text():
    """The file is valid and shows any name; a character that XML forbids is replaced."""
    shown = "".join(drawn(Bar(HOSTILE, {"run": 1.25, "rest": 1.0}), Bar("none", {"run": 0.0})).itertext())
    assert HOSTILE.replace("\x00", "\ufffd") in shown
    assert "2.25" in shown
    assert "Title & more" in shown


def test_charts_of_the_same_figures_are_the_same_file():
    """A chart that is drawn again changes nothing in a repository."""
    charts = [as_svg(lambda figure: figure.subplots().plot([1, 2]), width=3, height=2) for _ in range(2)]
    assert charts[0] == charts[1]
