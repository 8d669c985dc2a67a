"""An evaluation on a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.cli.highlight import printable
from stream.evaluation.report import Report
from stream.evaluation.tables import (
    FigureTable,
    label_table,
    percent,
    policy_table,
    terminal_table,
    wrong_counts_table,
)


def show(report: Report) -> None:
    """Print tables of the figures on stdout."""
    console = Console()
    evaluation = report.evaluation
    labels = _table(label_table(evaluation))
    labels.rows[-1].style = "bold"
    console.print(labels)
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
        console.print("", _table(policy_table(report.analyses.policies)), sep="\n")
        if report.analyses.wrong_counts:
            console.print("", _table(wrong_counts_table(report.analyses.wrong_counts)), sep="\n")


def _table(figures: FigureTable) -> Table:
    table = terminal_table(*figures.head)
    for name, *cells in figures.rows:
        # A label may come from a stranger's document: it styles nothing and cannot steer the terminal.
        table.add_row(Text(printable(name)), *cells)
    return table


def _sentence(report: Report) -> str:
    evaluation = report.evaluation
    subject = [report.about[name] for name in ("format", "policy") if name in report.about]
    parts = [f"{evaluation.documents} documents ({', '.join(subject)})"]
    if report.without:
        parts.append(f"{report.without} without predictions")
    if evaluation.counts.total:
        parts.append(
            f"counts right {percent(evaluation.counts.share)}%, "
            f"where there is a mention {percent(evaluation.counts_present.share)}%"
        )
    if latency := report.latency:
        parts.append(
            f"{latency.passes:.2f} passes and {latency.mean_ms:.1f} ms a document "
            f"(p50 {latency.p50_ms:.1f}, p95 {latency.p95_ms:.1f})"
        )
    parts.append(f"calibration error {report.expected_error:.3f}")
    return "; ".join(parts)
