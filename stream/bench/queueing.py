"""A model server as a queue: from its rates with so many documents in flight, the time at a rate of arrival.

A server that takes every document into the batch that is running shares its work among those in flight, and
does more of it the more there are. That is a generalised processor-sharing station: with Poisson arrivals at
rate ``a`` and completions at rate ``m(n)`` while ``n`` documents are there, the probability of ``n`` is in
proportion to ``a/m(1) * ... * a/m(n)``, whatever the distribution of a document's work (J. W. Cohen, "The
multiple phase service network with generalized processor sharing", Acta Informatica 12, 1979). Little's law
gives the mean time.

The rates are those of a closed system with ``n`` documents in flight at all times: the flow-equivalent server
of Chandy, Herzog and Woo ("Parametric analysis of queuing networks", IBM Journal of Research and Development
19, 1975).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stream.errors import ConfigurationError

_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, slots=True)
class Load:
    """A server under a rate of arrival.

    Attributes:
        utilisation: The rate as a share of the highest one that the server completes.
        in_flight: Mean number of documents in it, those that wait included.
        mean_ms: Mean milliseconds from arrival to result.
    """

    utilisation: float
    in_flight: float
    mean_ms: float


class Station:
    """A server by its rates."""

    def __init__(self, rates: Mapping[int, float]) -> None:
        """Take the measured rates.

        Args:
            rates: Documents a second by the number in flight, which includes 1. Between two of them the rate
                is taken as linear; beyond the last it stays.

        Raises:
            ConfigurationError: There is no rate with one in flight, or one is not above 0.
        """
        if 1 not in rates or min(rates.values()) <= 0:
            raise ConfigurationError(
                f"{dict(rates)} are no rates: one document in flight, and above 0, are needed"
            )
        self._levels = sorted(rates)
        # A measured rate may fall a little from one level to the next; with more in flight it can do as much.
        self._rates = np.maximum.accumulate([rates[level] for level in self._levels])

    @property
    def highest_rate(self) -> float:
        """Documents a second at saturation."""
        return float(self._rates[-1])

    def at(self, rate: float) -> Load | None:
        """Load at a rate of arrival, in documents a second above 0; None where a backlog would grow."""
        utilisation = rate / self.highest_rate
        if utilisation >= 1:
            return None
        present, weight, total, in_flight = 0, 1.0, 1.0, 0.0
        while present < self._levels[-1] or weight > _NEGLIGIBLE * total * (1 - utilisation):
            present += 1
            weight *= rate / float(np.interp(present, self._levels, self._rates))
            total += weight
            in_flight += present * weight
        in_flight /= total
        return Load(utilisation, in_flight, 1000 * in_flight / rate)
