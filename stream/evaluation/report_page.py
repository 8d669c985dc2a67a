"""The report of an evaluation as one HTML page that needs no network."""

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stream.evaluation.charts import QUIET, Bar, as_svg, bar_chart
from stream.evaluation.count_errors import CountSource, Perturbation, PerturbedScore
from stream.evaluation.mistakes import Mark, MarkedDocument, MatchKind, kinds, surest, worst
from stream.evaluation.policies import GOLD
from stream.evaluation.reliability import Reliability
from stream.evaluation.report import SHOWN, Analyses, Report
from stream.evaluation.tables import FigureTable, label_table, percent, policy_table, wrong_counts_table

_AROUND = 200
_FAR = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text.

    Attributes:
        text: Its characters.
        kind: How it is marked; None leaves it plain.
        names: Labels and scores of the entities that end with it.
    """

    text: str
    kind: MatchKind | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Chart:
    """An SVG, which a page holds as an image: nothing in it can run or clash with another."""

    title: str
    svg: str

    @property
    def base64(self) -> str:
        return b64encode(self.svg.encode()).decode()


def as_page(report: Report) -> str:
    """The whole page."""
    # A template of this package; whatever texts and labels hold is escaped.
    environment = Environment(
        loader=PackageLoader("stream", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = _scores(report) | _calibration(report) | _analyses(report.analyses)
    return environment.get_template("report.html.jinja").render(about=report.about, **shown)


def pieces(text: str, marks: Sequence[Mark], document: MarkedDocument) -> list[Piece]:
    """Cut the part of a text around a document's mistakes into pieces, marked and plain.

    Where entities overlap, the shorter one is marked. An entity absent from the text follows it.

    Args:
        text: The document's.
        marks: Those to show.
        document: Both sides' entities, whose mistakes decide which part is shown.
    """
    start, end = _part(text, document)
    inside = [mark for mark in marks if start <= mark.start and mark.end <= end]
    cuts = sorted({start, end, *(mark.start for mark in inside), *(mark.end for mark in inside)})
    cut = [Piece("… ")] if start else []
    for left, right in pairwise(cuts):
        names = tuple(_name(mark) for mark in inside if mark.end == right)
        cut.append(Piece(text[left:right], _shortest(inside, left, right), names))
    if end < len(text):
        cut.append(Piece(" …"))
    for mark in marks:
        if mark.start >= len(text):
            cut += [Piece(" "), Piece(mark.text, mark.kind, (_name(mark), "not in the text"))]
    return cut


def _part(text: str, document: MarkedDocument) -> tuple[int, int]:
    """From a little before the first mistake to a little after the last, between words."""
    wrong = [mark for mark in (*document.gold, *document.predicted) if mark.kind is not MatchKind.RIGHT]
    inside = [mark for mark in wrong if mark.start < len(text)]
    start = max(min((mark.start for mark in inside), default=0) - _AROUND, 0)
    end = text.find(" ", max((mark.end for mark in inside), default=0) + _AROUND)
    return text.rfind(" ", 0, start) + 1 if start else 0, len(text) if end == -1 else end


def _shortest(marks: Sequence[Mark], left: int, right: int) -> MatchKind | None:
    covering = [mark for mark in marks if mark.start <= left and right <= mark.end]
    return min(covering, key=lambda mark: mark.end - mark.start).kind if covering else None


def _name(mark: Mark) -> str:
    return mark.label if mark.score is None else f"{mark.label} {mark.score:.2f}"


def _scores(report: Report) -> dict[str, Any]:
    evaluation, places = report.evaluation, report.evaluation.all_matches
    tiles = {
        "micro-F1": percent(evaluation.score.f1),
        "exact": percent(places.strict.f1),
        "partial": percent(places.partial.f1),
        "type": percent(places.type.f1),
        "calibration error": f"{report.expected_error:.3f}",
    }
    if evaluation.counts.total:
        tiles["counts right"] = percent(evaluation.counts.share)
        tiles["counts right, of those above 0"] = percent(evaluation.counts_present.share)
    if report.latency:
        tiles["ms a document, mean"] = f"{report.latency.mean_ms:.1f}"
        tiles["p50"] = f"{report.latency.p50_ms:.1f}"
        tiles["p95"] = f"{report.latency.p95_ms:.1f}"
        tiles["passes a document"] = f"{report.latency.passes:.2f}"
    bars = [Bar(label, {"F1": 100 * score.f1}) for label, score in evaluation.by_label.items()]
    chart = _Chart("F1 by label", bar_chart("F1 by label", "F1", bars))
    return {"tiles": tiles, "labels": label_table(evaluation), "labels_chart": chart}


def _calibration(report: Report) -> dict[str, Any]:
    shown = {"as served": report.reliability}
    if report.fitted:
        shown = {"before": report.fitted.before, "calibrated": report.fitted.after}
    elif report.analyses and report.analyses.uncalibrated:
        shown = {"before": report.analyses.uncalibrated, "as served": report.reliability}
    errors = [
        (name, f"{each.error:.4f}", f"{each.brier:.4f}", f"{each.entities:,}") for name, each in shown.items()
    ]
    scaling = None
    if report.fitted:
        calibration = report.fitted.calibration
        scalings = [*calibration.labels.items(), ("other labels", calibration.default)]
        rows = [(name, f"{each.temperature:.3f}", f"{each.offset:+.3f}") for name, each in scalings]
        scaling = FigureTable(("Label", "Temperature", "Offset"), rows)
    return {
        "reliability": FigureTable(("Scores", "Calibration error", "Brier score", "Entities"), errors),
        "reliability_chart": _reliability_chart(shown),
        "scaling": scaling,
    }


def _analyses(analyses: Analyses | None) -> dict[str, Any]:
    if analyses is None:
        return dict.fromkeys(("policies", "differences", "kinds"))
    found = kinds(analyses.marked)
    return {
        "policies": policy_table(analyses.policies),
        "gold_duplicates": f"{analyses.policies[GOLD].duplicates.share:.2%}",
        **_counts(analyses),
        "kinds": FigureTable(
            ("Entities", "Number"), [(kind.value, f"{found[kind]:,}") for kind in MatchKind]
        ),
        "worst": [_article(each) for each in worst(analyses.marked, SHOWN)],
        "surest": [_article(each) for each in surest(analyses.marked, SHOWN)],
    }


def _counts(analyses: Analyses) -> dict[str, Any]:
    if not analyses.differences:
        return {"differences": None}
    differences = FigureTable(("Counted less annotated", "Pairs", "Share"), _grouped(analyses.differences))
    if analyses.wrong_counts is None:
        return {"differences": differences, "wrong_counts": None}
    return {
        "differences": differences,
        "wrong_counts": wrong_counts_table(analyses.wrong_counts),
        "wrong_counts_chart": _wrong_counts_chart(analyses.wrong_counts),
    }


def _grouped(differences: Counter[int]) -> list[tuple[str, str, str]]:
    names = {0: "0"} | {far: f"{far:+d}" for far in range(-_FAR, _FAR + 1) if far}
    names |= {-_FAR: f"-{_FAR} or less", _FAR: f"+{_FAR} or more"}
    grouped: Counter[int] = Counter()
    for difference, count in differences.items():
        grouped[max(-_FAR, min(_FAR, difference))] += count
    total = grouped.total()
    return [
        (names[difference], f"{count:,}", f"{count / total:.2%}")
        for difference, count in sorted(grouped.items())
    ]


def _article(marked: MarkedDocument) -> dict[str, Any]:
    text = marked.document.text
    return {
        "id": marked.document.id,
        "gold": pieces(text, marked.gold, marked),
        "predicted": pieces(text, marked.predicted, marked),
    }


def _reliability_chart(reliabilities: Mapping[str, Reliability]) -> _Chart:
    """Mean score of each bin against its share of right entities; a dot's area grows with the bin."""
    title = "Score against the share that is right"

    def draw(figure: Figure) -> None:
        axes = _unit_square(figure, title, "score", "right")
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1)
        for number, (name, each) in enumerate(reliabilities.items()):
            scores, rights = [one.score for one in each.bins], [one.right for one in each.bins]
            areas = [10 + 200 * one.entities / each.entities for one in each.bins]
            axes.plot(scores, rights, color=f"C{number}", label=name)
            axes.scatter(scores, rights, areas, color=f"C{number}")
        axes.legend(loc="upper left")

    return _Chart(title, as_svg(draw, width=4.4, height=4.2))


def _wrong_counts_chart(scores: Mapping[Perturbation, PerturbedScore]) -> _Chart:
    """F1 over the share of changed counts; dashed is F1 under the annotated counts."""
    title = "F1 under changed counts"

    def draw(figure: Figure) -> None:
        axes = _unit_square(figure, title, "share of counts changed", "F1")
        perfect = scores[Perturbation(CountSource.GOLD)].score.f1
        axes.axhline(perfect, color=QUIET, linestyle="--", linewidth=1)
        for counts in (CountSource.UNDER, CountSource.OVER, CountSource.INVENTED):
            points = [(0.0, scores[Perturbation(CountSource.OWN)].score.f1)]
            points += [(key.share, each.score.f1) for key, each in scores.items() if key.counts is counts]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=counts.value)
        axes.legend(loc="lower left")

    return _Chart(title, as_svg(draw, width=4.4, height=4.2))


def _unit_square(figure: Figure, title: str, across: str, up: str) -> Axes:
    axes = figure.subplots()
    axes.set(title=title, xlabel=across, ylabel=up, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    return axes
