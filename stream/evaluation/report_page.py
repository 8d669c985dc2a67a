"""The report of an evaluation as a folder: ``report.json`` and ``report.html``."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Self

from stream.errors import ConfigurationError
from stream.evaluation.count_errors import GOLD as GOLD_COUNTS
from stream.evaluation.count_errors import OWN, Change, Cost
from stream.evaluation.mistakes import Kind, Mark, Marked, kinds, surest, worst
from stream.evaluation.plots import bars, reliability_plot, share_plot
from stream.evaluation.policies import GOLD
from stream.evaluation.report import SHOWN, Analyses, Report, whole
from stream.evaluation.scores import Score

_AROUND = 200


def marked_text(text: str, marks: Sequence[Mark], document: Marked) -> str:
    """The part of a text that holds a document's mistakes, with some of its entities marked.

    Where entities overlap, the shorter one's colour shows. What is not in the text stands behind it.

    Args:
        text: The document's.
        marks: Those to show.
        document: Both sides' entities, which say what part is shown.
    """
    start, end = _part(text, document)
    inside = [mark for mark in marks if start <= mark.start and mark.end <= end]
    cuts = sorted({start, end, *(mark.start for mark in inside), *(mark.end for mark in inside)})
    pieces = ["… " if start else ""]
    for left, right in pairwise(cuts):
        pieces += [_piece(text[left:right], _shortest(inside, left, right)), *_names(inside, right)]
    pieces.append(" …" if end < len(text) else "")
    absent = [mark for mark in marks if mark.start >= len(text)]
    pieces += [f" {_piece(mark.text, mark)}{_name(mark)} <small>not in the text</small>" for mark in absent]
    return "".join(pieces)


def _part(text: str, document: Marked) -> tuple[int, int]:
    """From a little before the first mistake to a little after the last, between words."""
    wrong = [mark for mark in (*document.gold, *document.predicted) if mark.kind is not Kind.RIGHT]
    inside = [mark for mark in wrong if mark.start < len(text)]
    start = max(min((mark.start for mark in inside), default=0) - _AROUND, 0)
    end = min(max((mark.end for mark in inside), default=0) + _AROUND, len(text))
    return text.rfind(" ", 0, start) + 1 if start else 0, _word_end(text, end)


def _word_end(text: str, end: int) -> int:
    found = text.find(" ", end)
    return len(text) if found == -1 else found


def _shortest(marks: Sequence[Mark], left: int, right: int) -> Mark | None:
    covering = [mark for mark in marks if mark.start <= left and right <= mark.end]
    return min(covering, key=lambda mark: mark.end - mark.start, default=None)


def _piece(text: str, mark: Mark | None) -> str:
    if mark is None:
        return escape(text)
    name = "both" if mark.kind is Kind.BOTH else mark.kind.value
    return f'<mark class="{name}" title="{escape(mark.kind.value)}">{escape(text)}</mark>'


def _names(marks: Sequence[Mark], end: int) -> list[str]:
    return [_name(mark) for mark in marks if mark.end == end]


def _name(mark: Mark) -> str:
    score = "" if mark.score is None else f" {mark.score:.2f}"
    return f"<small> {escape(mark.label)}{score}</small>"


_FAR = 3


def as_page(report: Report) -> str:
    """The whole page."""
    style = (files("stream.evaluation") / "report_page.css").read_text("utf-8")
    sections = [_scores(report), _scores_by_label(report), _reliability(report)]
    if report.analyses:
        sections += [_policies(report.analyses), _counts(report), _mistakes(report.analyses.marked)]
    about = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in report.about.items()
    )
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Evaluation</title><style>{style}</style></head><body>",
            f'<h1>Evaluation</h1><table class="about">{about}</table>',
            *sections,
            "</body></html>\n",
        )
    )


def _scores(report: Report) -> str:
    evaluation, places = report.evaluation, report.evaluation.all_matches
    tiles = {
        "micro-F1": _percent(evaluation.score.f1),
        "exact": _percent(places.strict.f1),
        "partial": _percent(places.partial.f1),
        "type": _percent(places.type.f1),
        "calibration error": f"{report.expected_error:.3f}",
    }
    if evaluation.counts.total:
        tiles["counts right"] = _percent(evaluation.counts.share)
        tiles["counts right, of those above 0"] = _percent(evaluation.counts_present.share)
    if report.latency:
        tiles["ms a document, mean"] = f"{report.latency.mean_ms:.1f}"
        tiles["p50"] = f"{report.latency.p50_ms:.1f}"
        tiles["p95"] = f"{report.latency.p95_ms:.1f}"
        tiles["passes a document"] = f"{report.latency.passes:.2f}"
    shown = "".join(f"<div><b>{value}</b>{escape(name)}</div>" for name, value in tiles.items())
    return f'<div class="tiles">{shown}</div>'


def _scores_by_label(report: Report) -> str:
    evaluation = report.evaluation
    rows = [(label, score, evaluation.matches[label]) for label, score in evaluation.by_label.items()]
    table = _table(
        ("Label", "Precision", "Recall", "F1", "Exact", "Partial", "Type", "Gold places"),
        (
            (
                name,
                *_shares(score),
                *(_percent(each.f1) for each in (m.strict, m.partial, m.type)),
                f"{m.gold:,}",
            )
            for name, score, m in (*rows, ("all", evaluation.score, evaluation.all_matches))
        ),
    )
    drawn = bars("F1 by label", {label: score.f1 for label, score in evaluation.by_label.items()})
    return (
        "<h2>By label</h2><p>Precision, recall and F1 are over the sets of mention texts of a document. "
        "Exact, partial and type look at places: the very span; half for an overlap; an overlap in full.</p>"
        f'<div class="side">{table}{drawn}</div>'
    )


def _reliability(report: Report) -> str:
    shown = {"as served": report.reliability}
    if report.fitted:
        shown = {"before": report.fitted.before, "calibrated": report.fitted.after}
    elif report.analyses and report.analyses.uncalibrated:
        shown = {"before": report.analyses.uncalibrated, "as served": report.reliability}
    errors = _table(
        ("Scores", "Calibration error", "Brier score", "Entities"),
        ((name, f"{r.error:.4f}", f"{r.brier:.4f}", f"{r.entities:,}") for name, r in shown.items()),
    )
    key = " ".join(
        f'<span class="key series{number}">● {escape(name)}</span>' for number, name in enumerate(shown)
    )
    return (
        "<h2>Are scores probabilities?</h2><p>Entities in 15 bins by score: of those scored 0.9, nine in ten "
        "should be right, label and place.</p>"
        f'<div class="side">{reliability_plot(shown)}<div>{key}{errors}{_temperatures(report)}</div></div>'
    )


def _temperatures(report: Report) -> str:
    if not report.fitted:
        return ""
    calibration = report.fitted.calibration
    rows = [*calibration.labels.items(), ("other labels", calibration.default)]
    return _table(
        ("Label", "Temperature", "Offset"),
        ((name, f"{each.temperature:.3f}", f"{each.offset:+.3f}") for name, each in rows),
    )


def _policies(analyses: Analyses) -> str:
    rows = [(name, each) for name, each in analyses.policies.items() if name != GOLD]
    table = _table(
        ("Policy", "Precision", "Recall", "F1", "Exact F1", "Duplicates", "Removed", "of them right"),
        (
            (
                name,
                *_shares(each.score),
                _percent(each.matches.strict.f1),
                f"{each.duplicates.share:.2%}",
                f"{each.removed.total:,}",
                f"{each.removed.right:,}",
            )
            for name, each in rows
        ),
    )
    gold = analyses.policies[GOLD].duplicates.share
    return (
        "<h2>De-duplication</h2><p>The same answers under every policy. Duplicates are mentions whose text "
        f"has another label in its document too; in the annotation they are {gold:.2%}. With none nothing is "
        f"removed, not even what is not in the text.</p>{table}"
    )


def _counts(report: Report) -> str:
    analyses = report.analyses
    if analyses is None or analyses.costs is None or analyses.differences is None:
        return ""
    table = _table(
        ("Counts", "Share", "Changed", "Precision", "Recall", "F1"),
        (
            (change.kind, f"{change.share:.0%}", f"{cost.changed:,}", *_shares(cost.score))
            for change, cost in analyses.costs.items()
        ),
    )
    off = _table(("Counted less annotated", "Pairs", "Share"), _off(analyses.differences))
    return (
        "<h2>What wrong counts cost</h2><p>Counts changed on purpose and the mentions decoded again: under "
        "and over by one where a mention was counted, one invented where none was, and the annotated counts, "
        "which is what perfect counting would reach (the dashed line).</p>"
        f'<div class="side">{_cost_plot(analyses.costs)}{table}{off}</div>'
    )


def _off(differences: Counter[int]) -> Iterable[Sequence[str]]:
    names = {0: "0"} | {far: f"{far:+d}" for far in range(-_FAR, _FAR + 1) if far}
    names |= {-_FAR: f"-{_FAR} or less", _FAR: f"+{_FAR} or more"}
    grouped: Counter[int] = Counter()
    for difference, count in differences.items():
        grouped[max(-_FAR, min(_FAR, difference))] += count
    total = grouped.total() or 1
    return [
        (names[difference], f"{count:,}", f"{count / total:.2%}")
        for difference, count in sorted(grouped.items())
    ]


def _cost_plot(costs: Mapping[Change, Cost]) -> str:
    own = costs[Change(OWN)].score.f1
    changed = [change for change in costs if change.kind not in {OWN, GOLD_COUNTS}]
    lines = {
        kind: [(0.0, own), *((c.share, costs[c].score.f1) for c in changed if c.kind == kind)]
        for kind in dict.fromkeys(change.kind for change in changed)
    }
    return share_plot(
        "F1 under changed counts", "share of counts changed", lines, costs[Change(GOLD_COUNTS)].score.f1
    )


def _mistakes(marked: Sequence[Marked]) -> str:
    count = kinds(marked)
    table = _table(("Entities", "Number"), ((kind.value, f"{count[kind]:,}") for kind in Kind))
    legend = (
        '<mark class="right">right</mark> <mark class="boundary">other boundaries</mark> '
        '<mark class="label">other label, or invented</mark> <mark class="missed">missed</mark>'
    )
    return (
        f"<h2>Mistakes</h2>{table}<p>{legend}</p>"
        f"<h2>The worst documents</h2>{_articles(worst(marked, SHOWN))}"
        f"<h2>The surest mistakes</h2>{_articles(surest(marked, SHOWN))}"
    )


def _articles(marked: Iterable[Marked]) -> str:
    return "".join(map(_article, marked))


def _article(marked: Marked) -> str:
    text = marked.document.text
    rows = "".join(
        f"<div><small>{side}</small><span>{marked_text(text, marks, marked)}</span></div>"
        for side, marks in (("gold", marked.gold), ("predicted", marked.predicted))
    )
    return f"<article><small>{escape(marked.document.id)}</small>{rows}</article>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _shares(score: Score) -> tuple[str, str, str]:
    return _percent(score.precision), _percent(score.recall), _percent(score.f1)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


@dataclass(frozen=True, slots=True)
class ReportFolder:
    """Attributes: ``path``, a folder that is there and can be written."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Self:
        """Make the folder, before anything is computed that would be lost without it.

        Raises:
            ConfigurationError: It cannot be made or written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror or error}") from error
        if not os.access(path, os.W_OK):
            raise ConfigurationError(f"{path} cannot be written: name a folder of yours")
        return cls(path)

    def write(self, report: Report) -> None:
        """Write both files.

        Raises:
            ConfigurationError: They cannot be written.
        """
        files = {
            "report.json": json.dumps(whole(report), indent=2, ensure_ascii=False) + "\n",
            "report.html": as_page(report),
        }
        try:
            for name, content in files.items():
                (self.path / name).write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror or error}") from error
