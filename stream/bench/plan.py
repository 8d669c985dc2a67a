"""``padellm plan``: measured figures and traffic in; partitions, workers, servers and money out."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from stream.bench.queueing import Station
from stream.errors import ConfigurationError
from stream.evaluation.tables import terminal_table

DECADES = (100.0, 1_000.0, 10_000.0, 100_000.0)
# Of a worker's core: the rest is for rebalances and for catching up.
_WORKER_UTILISATION = 0.7
# Partitions for each worker at the peak: their number can be raised later, but keys then move.
_PARTITIONS_PER_WORKER = 2
_MOST_SERVERS = 10_000_000


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """Figures of `padellm bench capacity --json`.

    Attributes:
        rates: Documents a second of one server, by documents in flight.
        worker_ms: Milliseconds of a core that a worker spends on a document.
    """

    rates: dict[int, float]
    worker_ms: float

    @classmethod
    def read(cls, file: Path) -> "ServerFigures":
        """From the last line of a file, or from all of it.

        Raises:
            ConfigurationError: The file cannot be read, or holds other figures.
        """
        try:
            figures = json.loads(file.read_text(encoding="utf-8").strip().splitlines()[-1])
            rates = {int(level): float(rate) for level, rate in figures["documents_per_second"].items()}
            return cls(rates, float(figures["worker_ms"]))
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise ConfigurationError(
                f"{file} does not hold the figures of `padellm bench capacity --json`"
            ) from None


@dataclass(frozen=True, slots=True)
class Demand:
    """Traffic, and what is asked for it.

    Attributes:
        rates: Documents a second in equal parts of the day; one for a steady stream.
        latency_ms: Longest mean time of a document in the model server.
        spare: Servers that may be missing with the rest still below saturation.
        in_flight: Most documents in flight at a worker (PADELLM_MAX_IN_FLIGHT).
        server_price: Of a server, an hour.
        worker_price: Of a worker, an hour.
    """

    rates: Sequence[float]
    latency_ms: float
    spare: int
    in_flight: int
    server_price: float
    worker_price: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """Servers, workers and partitions for a rate.

    Attributes:
        rate: Documents a second.
        servers: Model servers.
        workers: Worker processes.
        partitions: Of the documents topic.
        utilisation: Of each server.
        mean_ms: Mean time of a document in a server.
        price: An hour, in the currency of the prices.
    """

    rate: float
    servers: int
    workers: int
    partitions: int
    utilisation: float
    mean_ms: float
    price: float


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """Fleets for the peak, and the price of a day.

    Attributes:
        peak: For the highest rate of the profile.
        price_fixed: Of a day with the peak's fleet at all times.
        price_scaled: Of a day with the fleet of each part of it.
        drawn_out: For other rates, at the same figures.
    """

    peak: Fleet
    price_fixed: float
    price_scaled: float
    drawn_out: tuple[Fleet, ...]


def plan(figures: ServerFigures, demand: Demand, others: Iterable[float] = DECADES) -> CapacityPlan:
    """Size everything.

    Raises:
        ConfigurationError: No number of servers is fast enough.
    """
    day = [fleet(figures, demand, rate) for rate in demand.rates]
    peak = max(day, key=lambda each: each.rate)
    return CapacityPlan(
        peak,
        24 * peak.price,
        24 * sum(each.price for each in day) / len(day),
        tuple(fleet(figures, demand, rate) for rate in others),
    )


def fleet(figures: ServerFigures, demand: Demand, rate: float) -> Fleet:
    """Fleet for one rate; arrivals are taken as spread evenly over the servers."""
    station = Station(figures.rates)
    alone = 1000 / figures.rates[1]
    if alone > demand.latency_ms:
        raise ConfigurationError(
            f"a document alone takes {alone:.0f} ms, more than --latency-ms {demand.latency_ms:g}: "
            "no number of servers is fast enough"
        )

    def enough(servers: int) -> bool:
        load = station.at(rate / servers)
        rest = servers - demand.spare
        rest_holds = rest > 0 and rate / rest < station.highest_rate
        return load is not None and load.mean_ms <= demand.latency_ms and rest_holds

    servers = _fewest(enough)
    load = station.at(rate / servers)
    if load is None:
        raise AssertionError
    processing = rate * figures.worker_ms / 1000 / _WORKER_UTILISATION
    workers = math.ceil(max(processing, servers * load.in_flight / demand.in_flight, 1))
    return Fleet(
        rate,
        servers,
        workers,
        _PARTITIONS_PER_WORKER * workers,
        load.utilisation,
        load.mean_ms,
        servers * demand.server_price + workers * demand.worker_price,
    )


def _fewest(enough: Callable[[int], bool]) -> int:
    """The lowest number that is enough, where every higher one is too."""
    high = 1
    while not enough(high):
        if high > _MOST_SERVERS:
            raise ConfigurationError(
                f"{_MOST_SERVERS:,} servers are too few: give a higher --latency-ms or a lower rate"
            )
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def show(made: CapacityPlan, *, priced: bool) -> None:
    """Print a table on stdout."""
    console = Console(width=110)
    table = terminal_table(
        "documents/s", "servers", "workers", "partitions", "utilisation", "mean ms", *(["an hour"] * priced)
    )
    for each in (made.peak, *made.drawn_out):
        price = [f"{each.price:,.2f}"] * priced
        counts = (f"{each.servers:,}", f"{each.workers:,}", f"{each.partitions:,}")
        table.add_row(f"{each.rate:,g}", *counts, f"{each.utilisation:.2f}", f"{each.mean_ms:.1f}", *price)
    console.print(table)
    if priced:
        console.print(
            f"\nA day with the peak's fleet: {made.price_fixed:,.2f}; "
            f"with the fleet of each part: {made.price_scaled:,.2f}"
        )


def summary(made: CapacityPlan) -> dict[str, Any]:
    """The plan as JSON."""
    return asdict(made)
