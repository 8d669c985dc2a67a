"""Trends of memory."""

import numpy as np
import pytest

from stream.bench.soak import Sample, memory_trend


def _samples(memory, *, step=100):
    return [Sample(number * step, {"worker": each}) for number, each in enumerate(memory, start=1)]


def test_soak_finds_a_steady_leak_under_noise():
    """A leak of 3 MiB in 10,000 documents is found, although samples swing by ten times as much."""
    random = np.random.default_rng(3)
    documents = np.arange(1, 501) * 100
    found = memory_trend(_samples(100 + documents * 3 / 10_000 + random.normal(0, 5, 500)), "worker")
    assert found.per_10k == pytest.approx(3, abs=0.7)
    assert found.last - found.warm == pytest.approx(3 * 4.17, abs=2.5)


def test_soak_takes_no_filling_of_caches_for_a_leak():
    """Memory that fills in the first sixth and then stays is no growth."""
    filling = [*np.linspace(50, 200, 16), *[200.0] * 84]
    found = memory_trend(_samples(filling), "worker")
    assert found.per_10k == pytest.approx(0, abs=0.01)
    assert (found.first, found.most) == (50, 200)
    assert found.warm == pytest.approx(200)


def test_soak_does_not_average_a_peak_away():
    """A peak in between is reported beside the line that levels it."""
    found = memory_trend(_samples([100.0] * 50 + [900.0] + [100.0] * 50), "worker")
    assert found.most == 900
    assert abs(found.per_10k) < 60
