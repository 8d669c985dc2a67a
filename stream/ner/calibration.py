"""Scores as probabilities: how often a mention with such a score is right."""

import math

from pydantic import BaseModel, ConfigDict, Field

_SOFTENING = 0.001


class Temperature(BaseModel):
    """How one label's scores are spread and shifted.

    Attributes:
        temperature: Above 1 for a model that is too sure of itself: log-odds are divided by it.
        offset: Added after that, in log-odds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(ge=0.02, le=100)
    offset: float = Field(default=0.0, ge=-20, le=20)

    def probability(self, product: float) -> float:
        """The probability that a mention is right, from the product of its tokens' probabilities.

        ``sigmoid(log_odds(product) / temperature + offset)``; it grows with the product.
        """
        return 1 / (1 + math.exp(-(log_odds(product) / self.temperature + self.offset)))


class Calibration(BaseModel):
    """A temperature for every label that was measured (Guo et al. 2017, arXiv 1706.04599; Platt's offset).

    Attributes:
        default: For all other labels.
        labels: Label phrase to its temperature.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Temperature
    labels: dict[str, Temperature] = {}

    def of(self, phrase: str) -> Temperature:
        """The temperature for a label phrase."""
        return self.labels.get(phrase, self.default)


def log_odds(product: float) -> float:
    """Log-odds of a probability in [0, 1], softened so that they are finite: between -6.9 and 6.9.

    Near 0 and 1 plain log-odds would turn rounding in an engine's last digits into visible differences.
    """
    return math.log((product + _SOFTENING) / (1 - product + _SOFTENING))
