"""Tables of figures: those of an evaluation, and their one style on a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from stream.evaluation.count_errors import Perturbation, PerturbedScore
from stream.evaluation.policies import GOLD, Ablation
from stream.evaluation.runner import Evaluation
from stream.evaluation.scores import Score

_SCORES = ("Precision", "Recall", "F1")


@dataclass(frozen=True, slots=True)
class FigureTable:
    """Cells as text; the first column holds names, the others figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def label_table(evaluation: Evaluation) -> FigureTable:
    """Scores of every label, and in the last row of all."""
    rows = [(label, score, evaluation.matches[label]) for label, score in evaluation.by_label.items()]
    return FigureTable(
        ("Label", *_SCORES, "Exact", "Partial", "Type", "Gold places"),
        [
            (
                name,
                *_shares(score),
                *(percent(each.f1) for each in (matched.strict, matched.partial, matched.type)),
                f"{matched.gold:,}",
            )
            for name, score, matched in (*rows, ("all", evaluation.score, evaluation.all_matches))
        ],
    )


def policy_table(policies: Mapping[str, Ablation]) -> FigureTable:
    """Figures of every de-duplication policy."""
    return FigureTable(
        ("Policy", *_SCORES, "Exact F1", "Duplicates", "Removed", "of them right"),
        [
            (
                name,
                *_shares(each.score),
                percent(each.matches.strict.f1),
                f"{each.duplicates.share:.2%}",
                f"{each.removed.total:,}",
                f"{each.removed.right:,}",
            )
            for name, each in policies.items()
            if name != GOLD
        ],
    )


def wrong_counts_table(scores: Mapping[Perturbation, PerturbedScore]) -> FigureTable:
    """Scores under every perturbation of the counts."""
    return FigureTable(
        ("Counts", "Share", "Changed", *_SCORES),
        [
            (changed.counts.value, f"{changed.share:.0%}", f"{each.changed:,}", *_shares(each.score))
            for changed, each in scores.items()
        ],
    )


def terminal_table(first: str, *others: str) -> Table:
    """A table without lines for a terminal, with figures on the right of their columns.

    Args:
        first: Head of the column of names.
        others: Heads of the columns of figures.
    """
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first)
    for other in others:
        table.add_column(other, justify="right")
    return table


def percent(share: float) -> str:
    """A share in percent, without the sign."""
    return f"{100 * share:.2f}"


def _shares(score: Score) -> tuple[str, str, str]:
    return percent(score.precision), percent(score.recall), percent(score.f1)
