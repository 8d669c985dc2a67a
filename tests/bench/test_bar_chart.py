"""Bars as SVG."""

import re
from xml.etree import ElementTree as ET

import pytest

from stream.bench.charts import Bar, bar_chart

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*bars: Bar) -> ET.Element:
    """A chart, parsed."""
    return ET.fromstring(bar_chart("Title & more", "ms", bars))


def test_bar_chart_draws_lengths_on_one_scale_from_zero():
    """Twice as much is twice as long, parts stand end to end, and the mark is on the same scale."""
    chart = drawn(Bar("a", {"run": 1.0, "feed": 1.0}), Bar("b", {"run": 4.0}, mark=2.0))
    first, second, long = [each for each in chart.iter(f"{SVG}rect") if each.get("x")]
    widths = [float(each.get("width")) for each in (first, second, long)]
    assert widths == pytest.approx([100, 100, 400])
    assert float(second.get("x")) == pytest.approx(float(first.get("x")) + 100)
    mark = next(chart.iter(f"{SVG}line"))
    assert float(mark.get("x1")) == pytest.approx(float(long.get("x")) + 200)
    assert first.get("fill") == long.get("fill") != second.get("fill")


def test_bar_chart_writes_every_name_and_total():
    """Whatever the names hold, the file is valid and shows them."""
    chart = drawn(Bar("<a> & b", {"run": 1.25, "rest": 1.0}), Bar("none", {"run": 0.0}))
    shown = "".join(chart.itertext())
    assert "<a> & b" in shown
    assert re.search(r"2\.25", shown)
    assert "Title & more" in shown
