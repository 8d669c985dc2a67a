"""Calibration of scores: Platt scaling of a mention's log-odds, one pair of numbers a label."""

import math

from pydantic import BaseModel, ConfigDict, Field

_SOFTENING = 0.001


class Temperature(BaseModel):
    """Platt scaling of one label's scores.

    Attributes:
        temperature: Divisor of the log-odds; above 1 for an overconfident model.
        offset: Added to the quotient, in log-odds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(ge=0.02, le=100)
    offset: float = Field(default=0.0, ge=-20, le=20)

    def probability(self, product: float) -> float:
        """The probability that a mention is correct, from the product of its tokens' probabilities.

        ``sigmoid(log_odds(product) / temperature + offset)``, monotonic in the product.
        """
        return 1 / (1 + math.exp(-(log_odds(product) / self.temperature + self.offset)))


class Calibration(BaseModel):
    """Platt scaling for every measured label (Guo et al. 2017, arXiv 1706.04599, with an offset).

    Attributes:
        default: The scaling of all other labels.
        labels: Label phrase to its scaling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Temperature
    labels: dict[str, Temperature] = {}

    def of(self, phrase: str) -> Temperature:
        """The scaling of a label phrase."""
        return self.labels.get(phrase, self.default)


def log_odds(product: float) -> float:
    """Log-odds of a probability in [0, 1], softened so that they are finite: between -6.9 and 6.9.

    Near 0 and 1 plain log-odds would turn rounding in an engine's last digits into visible differences.
    """
    return math.log((product + _SOFTENING) / (1 - product + _SOFTENING))
