"""Chart of latency against rate."""

import re

from stream.bench.charts import serve_charts
from stream.bench.load import Serving


def test_serve_charts_have_a_panel_for_every_way():
    """Every way has its name, and three percentiles and saturation are explained once."""
    at_rates = {
        rate: {"triton": Serving(rate, 5, 9, 20), "kafka": Serving(rate, 8, 30, 900)} for rate in (5, 50)
    }
    charts = serve_charts(at_rates, {"triton": 60.0, "kafka": 40.0})
    assert list(charts) == ["serve-rates.svg"]
    words = re.findall(r">([^<>]+)</text>", charts["serve-rates.svg"])
    assert {"through triton", "through kafka"} <= set(words)
    assert [words.count(each) for each in ("p50", "p99", "p99.9", "saturation")] == [1, 1, 1, 1]
