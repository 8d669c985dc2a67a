"""The results of an evaluation, and its figures as JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stream.evaluation.alignment import Matches
from stream.evaluation.calibration import Fitted
from stream.evaluation.count_errors import Perturbation, PerturbedScore
from stream.evaluation.mistakes import Mark, MarkedDocument, kinds, surest, worst
from stream.evaluation.policies import GOLD, Ablation
from stream.evaluation.reliability import Reliability
from stream.evaluation.runner import Evaluation
from stream.evaluation.scores import Score

SHOWN = 30
"""Documents with mistakes in a report, in each of its two orders."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds and forward passes a document.

    Attributes:
        mean_ms: Mean.
        p50_ms: Median.
        p95_ms: 95th percentile.
        passes: Mean number of forward passes.
    """

    mean_ms: float
    p50_ms: float
    p95_ms: float
    passes: float

    @classmethod
    def of(cls, latencies: Sequence[float], passes: int) -> "Latency":
        """From the seconds of each document, and the passes of all."""
        p50, p95 = np.percentile(latencies, (50, 95)) * 1000
        return cls(float(np.mean(latencies)) * 1000, float(p50), float(p95), passes / len(latencies))


@dataclass(frozen=True, slots=True)
class Analyses:
    """Analyses beyond the scores.

    Attributes:
        policies: Figures of every de-duplication policy.
        uncalibrated: Reliability of products of token probabilities, for a calibrated checkpoint.
        marked: Every document with its entities.
        differences: Pairs of a document and a label by counted less annotated mentions.
        wrong_counts: Scores under perturbed counts; None for a system that is not asked for counts.
    """

    policies: Mapping[str, Ablation]
    uncalibrated: Reliability | None
    marked: Sequence[MarkedDocument]
    differences: Counter[int]
    wrong_counts: Mapping[Perturbation, PerturbedScore] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation.

    Attributes:
        about: The subject by name: model or predictions, format, data, policy.
        evaluation: The scores.
        reliability: Reliability of the scores that the service would publish.
        latency: Of a model.
        without: Documents without predictions, if predictions were scored.
        fitted: The calibration, if one was fitted.
        analyses: Of a report.
    """

    about: Mapping[str, str]
    evaluation: Evaluation
    reliability: Reliability
    latency: Latency | None = None
    without: int | None = None
    fitted: Fitted | None = None
    analyses: Analyses | None = None

    @property
    def expected_error(self) -> float:
        """Expected calibration error; after a fit, of the half not fitted to."""
        return self.fitted.after.error if self.fitted else self.reliability.error


def figures(report: Report) -> dict[str, Any]:
    """The figures as JSON: scores in percent, calibration errors and shares as fractions."""
    evaluation = report.evaluation
    found: dict[str, Any] = {
        **{name: report.about[name] for name in ("format", "policy") if name in report.about},
        "documents": evaluation.documents,
        **percent(evaluation.score),
    }
    if evaluation.counts.total:
        found["count_accuracy"] = round(100 * evaluation.counts.share, 2)
        found["count_accuracy_present"] = round(100 * evaluation.counts_present.share, 2)
    if report.latency:
        found["passes_per_document"] = round(report.latency.passes, 3)
        found["ms_per_document"] = round(1000 * evaluation.seconds / evaluation.documents, 3)
        found["latency_ms"] = {
            name: round(getattr(report.latency, f"{name}_ms"), 3) for name in ("mean", "p50", "p95")
        }
    if report.without is not None:
        found["documents_without_predictions"] = report.without
    found |= places(evaluation.all_matches)
    found["ece"] = round(report.expected_error, 4)
    found["labels"] = {
        label: percent(score) | {"gold": int(score.tp + score.fn)} | places(evaluation.matches[label])
        for label, score in evaluation.by_label.items()
    }
    found["removed"] = dict(evaluation.removed.most_common())
    if report.fitted:
        found["calibration"] = _fitted(report.fitted)
    return found | (_analyses(report.analyses) if report.analyses else {})


def whole(report: Report) -> dict[str, Any]:
    """The figures, their subject, the bins of the scores, and the worst answers."""
    found = {"about": dict(report.about)} | figures(report) | {"reliability": asdict(report.reliability)}
    if report.analyses:
        marked = report.analyses.marked
        found["kinds"] = {kind.value: count for kind, count in kinds(marked).items()}
        found["worst"] = [_marked(each) for each in worst(marked, SHOWN)]
        found["surest_mistakes"] = [_marked(each) for each in surest(marked, SHOWN)]
    return found


def percent(score: Score) -> dict[str, float]:
    """Precision, recall and F1 in percent."""
    return {name: round(100 * getattr(score, name), 2) for name in ("precision", "recall", "f1")}


def places(matched: Matches) -> dict[str, dict[str, float]]:
    """The scores over places."""
    return {
        "exact": percent(matched.strict),
        "partial": percent(matched.partial),
        "type": percent(matched.type),
    }


def _fitted(fitted: Fitted) -> dict[str, Any]:
    return {
        "ece_before": round(fitted.before.error, 4),
        "ece_after": round(fitted.after.error, 4),
        "brier_before": round(fitted.before.brier, 4),
        "brier_after": round(fitted.after.brier, 4),
        "fitted_to": fitted.fitted_to,
        "measured_on": fitted.after.entities,
        "temperatures": fitted.calibration.model_dump(),
    }


def _analyses(analyses: Analyses) -> dict[str, Any]:
    found: dict[str, Any] = {
        "policies": {
            name: percent(each.score)
            | {
                "exact_f1": round(100 * each.matches.strict.f1, 2),
                "duplicate_rate": round(each.duplicates.share, 4),
                "removed": each.removed.total,
                "removed_right": each.removed.right,
            }
            for name, each in analyses.policies.items()
            if name != GOLD
        },
        "gold_duplicate_rate": round(analyses.policies[GOLD].duplicates.share, 4),
    }
    if analyses.uncalibrated:
        found["ece_uncalibrated"] = round(analyses.uncalibrated.error, 4)
    if analyses.wrong_counts is not None:
        found["wrong_counts"] = [
            {"counts": changed.counts.value, "share": changed.share, "changed": each.changed}
            | percent(each.score)
            for changed, each in analyses.wrong_counts.items()
        ]
    if analyses.differences:
        found["count_differences"] = {
            str(difference): count for difference, count in sorted(analyses.differences.items())
        }
    return found


def _marked(marked: MarkedDocument) -> dict[str, Any]:
    return {
        "id": marked.document.id,
        "text": marked.document.text,
        "gold": [_mark(each) for each in marked.gold],
        "predicted": [_mark(each) for each in marked.predicted],
    }


def _mark(mark: Mark) -> dict[str, Any]:
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(mark).items()
        if value is not None
    }
