"""Temperatures fitted to judged mentions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.contract.messages import Policy
from stream.errors import ConfigurationError
from stream.evaluation.reliability import Judged, Reliability
from stream.evaluation.runner import Answer, score
from stream.ner.calibration import Calibration, Temperature, log_odds

_Vector = NDArray[np.float64]

_FEWEST = 100
_STEPS = 50
_HALVINGS = 30
_CLOSE = 1e-9

# Weight of what is assumed of a label (the default's temperature) against each of its mentions.
_TRUST = 5.0
_SLOPES = (0.05, 20.0)
_FIXED = 1e9
_LARGEST_OFFSET = 10.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """Temperatures fitted to one half of documents and measured on the other.

    Attributes:
        calibration: The temperatures.
        fitted_to: Entities that they were fitted to.
        before: How reliable products of token probabilities are, on the other half.
        after: How reliable calibrated scores are there.
    """

    calibration: Calibration
    fitted_to: int
    before: Reliability
    after: Reliability


def fit_half(
    answers: Sequence[Answer], labels: Sequence[str], phrases: Mapping[str, str], policy: Policy
) -> Fitted:
    """Fit to every other answer, from the first on, and measure on the rest.

    Args:
        answers: A model's.
        labels: Labels to judge, as the documents name them.
        phrases: Label to the checkpoint's phrase for it.
        policy: De-duplication; entities that it keeps are judged.

    Raises:
        ConfigurationError: There are too few mentions to fit to.
    """
    seen, unseen = answers[::2], answers[1::2]
    judged = score(seen, labels, policy=policy).judged
    calibration = fit(judged, phrases)
    before, after = (
        Reliability.of(score(unseen, labels, policy=policy, calibration=each).judged)
        for each in (None, calibration)
    )
    return Fitted(calibration, len(judged), before, after)


def fit(judged: Sequence[Judged], phrases: Mapping[str, str]) -> Calibration:
    """The calibration that makes what was seen most likely; labels with few mentions stay near the default.

    Args:
        judged: Mentions with uncalibrated scores.
        phrases: Label to the checkpoint's phrase for it.

    Raises:
        ConfigurationError: There are too few mentions to fit to.
    """
    if len(judged) < _FEWEST:
        raise ConfigurationError(
            f"{len(judged)} mentions were found in the documents to fit temperatures to, and {_FEWEST} are "
            "needed: give more documents, or ones with labels that the model knows"
        )
    default = _fit(judged, np.array([1.0, 0.0]), np.full(2, 0.01))
    of_phrase: dict[str, list[Judged]] = {}
    for one in judged:
        of_phrase.setdefault(phrases[one.label], []).append(one)
    return Calibration(
        default=_temperature(default),
        labels={
            phrase: _temperature(_fit(some, default, np.full(2, _TRUST)))
            for phrase, some in of_phrase.items()
        },
    )


def _fit(judged: Sequence[Judged], assumed: _Vector, trust: _Vector) -> _Vector:
    """Slope and offset of a logistic regression on log-odds, the slope within bounds.

    Scores that say nothing, or the reverse, would have a slope near zero or below it.
    """
    across = np.array([[log_odds(one.score), 1.0] for one in judged])
    right = np.array([one.right for one in judged], dtype=np.float64)
    weights = _regression(across, right, assumed, trust)
    bounded = np.clip(weights[0], *_SLOPES)
    if bounded == weights[0]:
        return weights
    return _regression(across, right, np.array([bounded, assumed[1]]), np.array([_FIXED, trust[1]]))


def _regression(across: _Vector, right: _Vector, assumed: _Vector, trust: _Vector) -> _Vector:
    """Weights that are held near what is assumed of them, found by Newton's method."""

    def loss(weights: _Vector) -> float:
        odds = across @ weights
        away = weights - assumed
        return float(np.sum(np.logaddexp(0, odds) - right * odds) + trust @ away**2 / 2)

    weights = assumed.copy()
    for _ in range(_STEPS):
        likely = 1 / (1 + np.exp(-(across @ weights)))
        gradient = across.T @ (likely - right) + trust * (weights - assumed)
        curvature = across.T @ (across * (likely * (1 - likely))[:, None]) + np.diag(trust)
        step = np.linalg.solve(curvature, gradient)
        halvings = (0.5**power * step for power in range(_HALVINGS))
        shorter = next((each for each in halvings if loss(weights - each) <= loss(weights)), 0 * step)
        weights -= shorter
        if np.abs(shorter).max() < _CLOSE:
            break
    return weights


def _temperature(weights: _Vector) -> Temperature:
    offset = float(np.clip(weights[1], -_LARGEST_OFFSET, _LARGEST_OFFSET))
    return Temperature(temperature=round(1 / float(weights[0]), 4), offset=round(offset, 4))
