"""Platt scaling fitted to judged mentions."""

import random

import numpy as np
import pytest

from stream.errors import ConfigurationError
from stream.evaluation.calibration import fit
from stream.evaluation.reliability import Judged, Reliability
from stream.ner.calibration import Calibration, Temperature

PHRASES = {"PER": "person", "LOC": "location"}


def drawn(label, truth, number, seed=0):
    """Mentions with scores from everywhere, right as often as ``truth`` says of their score."""
    random_number = random.Random(seed).random
    scores = [random_number() ** 0.2 for _ in range(number)]
    return [Judged(label, score, random_number() < truth.probability(score)) for score in scores]


def calibrated(judged, calibration):
    """The same mentions under their calibrated scores."""
    return [one._replace(score=calibration.of(PHRASES[one.label]).probability(one.score)) for one in judged]


def test_calibration_find_those_that_the_answers_were_drawn_with():
    """From many mentions of two labels, each label's temperature and offset come back."""
    truths = {
        "PER": Temperature(temperature=2.0, offset=0.5),
        "LOC": Temperature(temperature=0.8, offset=-0.4),
    }
    seen = [one for label, truth in truths.items() for one in drawn(label, truth, 20_000)]
    found = fit(seen, PHRASES)
    for label, truth in truths.items():
        fitted = found.labels[PHRASES[label]]
        assert fitted.temperature == pytest.approx(truth.temperature, rel=0.1)
        assert fitted.offset == pytest.approx(truth.offset, abs=0.1)


def test_calibration_make_unseen_scores_reliable():
    """Scores that are far too sure end within 0.02 of the truth on mentions that were not fitted to."""
    truth = Temperature(temperature=3.0, offset=-1.0)
    unseen = drawn("PER", truth, 5000, seed=1)
    found = fit(drawn("PER", truth, 5000), PHRASES)
    assert Reliability.of(unseen).error > 0.2
    assert Reliability.of(calibrated(unseen, found)).error < 0.02


def test_calibration_of_a_label_with_few_mentions_stay_by_the_default():
    """Three wrong mentions of a label move its scores, but not down to nothing."""
    seen = drawn("PER", Temperature(temperature=1.5), 3000) + [Judged("LOC", 0.9, right=False)] * 3
    found = fit(seen, PHRASES)
    low, usual = (found.of(phrase).probability(0.9) for phrase in ("location", "person"))
    assert 0.2 < low < usual


@pytest.mark.parametrize("right", [lambda score: score < 0.5, lambda score: True, lambda score: False])
def test_calibration_keep_the_order_of_scores_that_say_the_reverse(right):
    """Scores are flattened, never reversed, if the low ones are right, or all are, or none."""
    seen = [Judged("PER", score, right(score)) for score in np.linspace(0.01, 0.99, 300)]
    found = fit(seen, PHRASES)
    assert isinstance(found, Calibration)
    assert found.of("person").probability(0.2) <= found.of("person").probability(0.8)
    before, after = Reliability.of(seen), Reliability.of(calibrated(seen, found))
    assert after.brier < before.brier


def test_calibration_need_mentions():
    """Too few mentions are refused with their number."""
    with pytest.raises(ConfigurationError, match="7 mentions"):
        fit([Judged("PER", 0.5, right=True)] * 7, PHRASES)
