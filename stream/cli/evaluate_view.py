"""An evaluation on a terminal."""

from rich.console import Console
from rich.table import Table

from stream.evaluation.alignment import Matches
from stream.evaluation.policies import GOLD
from stream.evaluation.report import Analyses, Report
from stream.evaluation.scores import Score
from stream.evaluation.tables import figure_table


def show(report: Report) -> None:
    """Print tables of the figures on stdout."""
    console = Console()
    evaluation = report.evaluation
    table = figure_table("Label", "Precision", "Recall", "F1", "Exact", "Partial", "Type", "Gold")
    for name, score in evaluation.by_label.items():
        _add(table, name, score, evaluation.matches[name])
    _add(table, "all", evaluation.score, evaluation.all_matches, style="bold")
    console.print(table)
    console.print(f"\n{_sentence(report)}")
    reasons = ", ".join(f"{count} {reason}" for reason, count in evaluation.removed.most_common())
    console.print(f"removed: {reasons or 'none'}", style="dim")
    if report.fitted:
        before, after = report.fitted.before, report.fitted.after
        console.print(
            f"calibrated on {report.fitted.fitted_to} entities; on {after.entities} others the error is "
            f"{after.error:.3f}, and was {before.error:.3f}"
        )
    if report.analyses:
        _show_analyses(console, report.analyses)


def _add(table: Table, name: str, score: Score, matches: Matches, *, style: str | None = None) -> None:
    shares = (score.precision, score.recall, score.f1)
    places = (each.f1 for each in (matches.strict, matches.partial, matches.type))
    gold = str(int(score.tp + score.fn))
    table.add_row(name, *(f"{100 * share:.2f}" for share in (*shares, *places)), gold, style=style)


def _sentence(report: Report) -> str:
    evaluation = report.evaluation
    subject = [report.about[name] for name in ("format", "policy") if name in report.about]
    parts = [f"{evaluation.documents} documents ({', '.join(subject)})"]
    if report.without:
        parts.append(f"{report.without} without predictions")
    if evaluation.counts.total:
        parts.append(
            f"counts right {100 * evaluation.counts.share:.2f}%, "
            f"where there is a mention {100 * evaluation.counts_present.share:.2f}%"
        )
    if latency := report.latency:
        parts.append(
            f"{latency.passes:.2f} passes and {latency.mean_ms:.1f} ms a document "
            f"(p50 {latency.p50_ms:.1f}, p95 {latency.p95_ms:.1f})"
        )
    parts.append(f"calibration error {report.expected_error:.3f}")
    return "; ".join(parts)


def _show_analyses(console: Console, analyses: Analyses) -> None:
    policies = figure_table(
        "Policy", "Precision", "Recall", "F1", "Exact F1", "Duplicates", "Removed", "right"
    )
    for name, each in analyses.policies.items():
        if name != GOLD:
            policies.add_row(
                name,
                *_shares(each.score),
                f"{100 * each.matches.strict.f1:.2f}",
                f"{each.duplicates.share:.2%}",
                str(each.removed.total),
                str(each.removed.right),
            )
    console.print("")
    console.print(policies)
    if analyses.wrong_counts is None:
        return
    counts = figure_table("Counts", "Share", "Changed", "Precision", "Recall", "F1")
    for changed, perturbed in analyses.wrong_counts.items():
        shares = _shares(perturbed.score)
        counts.add_row(changed.counts.value, f"{changed.share:.0%}", str(perturbed.changed), *shares)
    console.print("")
    console.print(counts)


def _shares(score: Score) -> list[str]:
    return [f"{100 * share:.2f}" for share in (score.precision, score.recall, score.f1)]
