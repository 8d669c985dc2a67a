"""The queueing model against queues whose answer is known, and what is sized with it."""

import json
import random
from itertools import pairwise

import pytest

from stream.bench.capacity import Capacity, Checked, summary
from stream.bench.plan import Demand, ServerFigures, fleet, plan
from stream.bench.queueing import Station
from stream.errors import ConfigurationError

# Of a server that batches: eight times the rate at 64 in flight.
RATES = {1: 10.0, 8: 50.0, 64: 80.0}
FIGURES = ServerFigures(RATES, worker_ms=2.0)


def _demand(*rates, latency_ms=1000.0, spare=1, in_flight=64, server_price=2.0, worker_price=0.1):
    return Demand(rates, latency_ms, spare, in_flight, server_price, worker_price)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_queueing_one_after_the_other_is_the_textbooks(share):
    """At a rate that does not grow with company the mean time is that of M/M/1: 1 / (m - a)."""
    load = Station({1: 10.0}).at(10 * share)
    assert load.mean_ms == pytest.approx(1000 / (10 - 10 * share), rel=1e-6)
    assert load.in_flight == pytest.approx(share / (1 - share), rel=1e-6)


def test_queueing_of_several_at_full_speed_is_the_textbooks():
    """With a rate in proportion up to c documents the mean time is that of M/M/c, by Erlang's formula."""
    load = Station({1: 10.0, 2: 20.0, 3: 30.0}).at(24.0)
    # Erlang C for c=3, a=2.4: a wait with probability 0.6472; then 1 / (30 - 24) s.
    assert load.mean_ms == pytest.approx(100 + 1000 * 0.6472 / 6, rel=1e-3)


@pytest.mark.parametrize("uneven", [False, True], ids=["alike", "uneven"])
def test_queueing_holds_whatever_the_sizes(uneven):
    """A simulated server that shares its rate has the mean time of the model, for sizes alike and uneven."""
    measured = _simulated(Station(RATES), rate=56.0, uneven=uneven)
    assert Station(RATES).at(56.0).mean_ms == pytest.approx(measured, rel=0.1)


def test_queueing_tells_a_backlog_without_end():
    """At the highest rate and beyond there is no mean time."""
    assert Station(RATES).at(79.9) is not None
    assert Station(RATES).at(80.0) is None


@pytest.mark.parametrize("rates", [{8: 50.0}, {1: 0.0}])
def test_queueing_refuses_figures_that_are_no_rates(rates):
    """Without the rate of a document alone, or with one of 0, nothing can be said."""
    with pytest.raises(ConfigurationError, match="are no rates"):
        Station(rates)


@pytest.mark.parametrize("rate", [5.0, 400.0, 100_000.0])
def test_plan_is_the_smallest_that_is_enough(rate):
    """The servers keep the time asked for, survive the loss of one, and one fewer would not do both."""
    made = fleet(FIGURES, _demand(rate, latency_ms=300), rate)
    station = Station(RATES)
    assert station.at(rate / made.servers).mean_ms == pytest.approx(made.mean_ms)
    assert made.mean_ms <= 300
    assert station.at(rate / (made.servers - 1)) is not None
    fewer = station.at(rate / (made.servers - 1))
    two_fewer = made.servers > 2 and station.at(rate / (made.servers - 2)) is not None
    assert fewer.mean_ms > 300 or not two_fewer


def test_plan_workers_hold_what_is_in_flight_and_their_own_work():
    """Workers hold the documents in flight and have the processor time; partitions are two for each."""
    tight = fleet(FIGURES, _demand(1000.0, in_flight=1), 1000.0)
    roomy = fleet(FIGURES, _demand(1000.0, in_flight=10_000), 1000.0)
    assert roomy.workers == 3  # 1000/s of 2 ms at 70% of a core
    assert tight.workers >= 1000.0 * tight.mean_ms / 1000
    assert (tight.partitions, roomy.partitions) == (2 * tight.workers, 6)


def test_plan_counts_the_money_of_a_day():
    """A day costs the peak's fleet for 24 hours, or that of each part for its hours."""
    made = plan(FIGURES, _demand(50.0, 1000.0))
    low, peak = (fleet(FIGURES, _demand(rate), rate) for rate in (50.0, 1000.0))
    assert made.peak == peak
    assert peak.price == pytest.approx(2 * peak.servers + 0.1 * peak.workers)
    assert made.price_fixed == pytest.approx(24 * peak.price)
    assert made.price_scaled == pytest.approx(12 * (low.price + peak.price))
    assert [each.rate for each in made.drawn_out][-1] == 100_000


def test_plan_refuses_a_time_that_no_server_reaches():
    """A document alone that takes longer than asked for is named."""
    with pytest.raises(ConfigurationError, match="alone takes 100 ms"):
        fleet(FIGURES, _demand(10.0, latency_ms=50), 10.0)


def test_plan_reads_the_last_line_of_a_measurement(tmp_path):
    """The figures are the JSON line behind the tables; anything else is refused with the command."""
    file = tmp_path / "capacity.json"
    file.write_text("a table\n" + json.dumps({"documents_per_second": {"1": 10}, "worker_ms": 2}) + "\n")
    assert ServerFigures.read(file) == ServerFigures({1: 10.0}, 2.0)
    file.write_text('{"engine": 1}')
    with pytest.raises(ConfigurationError, match="padellm bench capacity"):
        ServerFigures.read(file)


def _simulated(station, *, rate, uneven, documents=20_000):
    """Mean milliseconds of documents at a server that shares its rate among those present."""
    random.seed(1)
    rates = [0.0] + [_rate(count) for count in range(1, 2000)]
    now, due, left, times = 0.0, random.expovariate(rate), [], []
    while len(times) < documents:
        each = rates[len(left)] / len(left) if left else 0.0
        first = min(left, default=None)
        ends = now + first[0] / each if first else float("inf")
        step = min(due, ends) - now
        left = [(size - step * each, began) for size, began in left]
        now += step
        if ends <= due:
            ended = min(left)
            left.remove(ended)
            times.append(now - ended[1])
        else:
            size = random.expovariate(1.0) if uneven else 1.0
            left.append((size, now))
            due = now + random.expovariate(rate)
    return 1000 * sum(times) / len(times)


def _rate(count):
    levels = sorted(RATES)
    for low, high in pairwise(levels):
        if low <= count <= high:
            return RATES[low] + (RATES[high] - RATES[low]) * (count - low) / (high - low)
    return RATES[levels[-1]]


def test_plan_takes_what_the_benchmark_writes(tmp_path):
    """The JSON of `bench capacity` is read as it was measured."""
    checked = {0.3: [Checked(3.0, 100.0, 90.0), Checked(3.0, 100.0, 110.0), Checked(3.0, 100.0, 95.0)]}
    written = summary(Capacity({1: 10.0, 8: 50.0}, 2.5, checked))
    assert written["model_by_measured"] == {"0.3": 0.95}
    file = tmp_path / "capacity.json"
    file.write_text(json.dumps(written))
    assert ServerFigures.read(file) == ServerFigures({1: 10.0, 8: 50.0}, 2.5)
