"""Platt scaling fitted to judged mentions: for every label a temperature and an offset of log-odds."""

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

# Weight of the prior, which is the default scaling, against each mention of a label.
_PRIOR_WEIGHT = 5.0
_SLOPES = (0.05, 20.0)
_FIXED = 1e9
_LARGEST_OFFSET = 10.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration fitted to one half of the documents and measured on the other.

    Attributes:
        calibration: Platt scaling of every label.
        fitted_to: Number of entities that it was fitted to.
        before: Reliability of products of token probabilities, on the other half.
        after: Reliability of calibrated scores, on the same half.
    """

    calibration: Calibration
    fitted_to: int
    before: Reliability
    after: Reliability


def fit_half(
    answers: Sequence[Answer], labels: Sequence[str], phrases: Mapping[str, str], policy: Policy
) -> Fitted:
    """Fit to every second answer, from the first on, and measure on the rest.

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
    """The calibration of highest likelihood; labels with few mentions stay near the default.

    Args:
        judged: Mentions with uncalibrated scores.
        phrases: Label to the checkpoint's phrase for it.

    Raises:
        ConfigurationError: There are too few mentions to fit to.
    """
    if len(judged) < _FEWEST:
        raise ConfigurationError(
            f"{len(judged)} mentions were found in the documents to calibrate with, and {_FEWEST} are "
            "needed: give more documents, or ones with labels that the model knows"
        )
    default = _fit(judged, np.array([1.0, 0.0]), np.full(2, 0.01))
    of_phrase: dict[str, list[Judged]] = {}
    for one in judged:
        of_phrase.setdefault(phrases[one.label], []).append(one)
    return Calibration(
        default=_platt_scaling(default),
        labels={
            phrase: _platt_scaling(_fit(some, default, np.full(2, _PRIOR_WEIGHT)))
            for phrase, some in of_phrase.items()
        },
    )


def _fit(judged: Sequence[Judged], prior: _Vector, weight: _Vector) -> _Vector:
    """Slope and offset of a logistic regression on log-odds, the slope within bounds.

    Uninformative or reversed scores would have a slope near zero or below it.
    """
    features = np.array([[log_odds(one.score), 1.0] for one in judged])
    right = np.array([one.right for one in judged], dtype=np.float64)
    weights = _regression(features, right, prior, weight)
    bounded = np.clip(weights[0], *_SLOPES)
    if bounded == weights[0]:
        return weights
    return _regression(features, right, np.array([bounded, prior[1]]), np.array([_FIXED, weight[1]]))


def _regression(features: _Vector, right: _Vector, prior: _Vector, precision: _Vector) -> _Vector:
    """Weights under a Gaussian prior of some mean and precision, by Newton's method."""

    def loss(weights: _Vector) -> float:
        odds = features @ weights
        return float(np.sum(np.logaddexp(0, odds) - right * odds) + precision @ (weights - prior) ** 2 / 2)

    weights = prior.copy()
    for _ in range(_STEPS):
        likely = 1 / (1 + np.exp(-(features @ weights)))
        gradient = features.T @ (likely - right) + precision * (weights - prior)
        curvature = features.T @ (features * (likely * (1 - likely))[:, None]) + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        halvings = (0.5**power * step for power in range(_HALVINGS))
        shorter = next((each for each in halvings if loss(weights - each) <= loss(weights)), 0 * step)
        weights -= shorter
        if np.abs(shorter).max() < _CLOSE:
            break
    return weights


def _platt_scaling(weights: _Vector) -> Temperature:
    offset = float(np.clip(weights[1], -_LARGEST_OFFSET, _LARGEST_OFFSET))
    return Temperature(temperature=round(1 / float(weights[0]), 4), offset=round(offset, 4))
