"""Reports, as files and as a page."""

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.messages import Policy
from stream.errors import ConfigurationError
from stream.evaluation.calibration import Fitted
from stream.evaluation.count_errors import CountErrors, Recorder, differences
from stream.evaluation.mistakes import Kind, Mark, Marked, mark
from stream.evaluation.plots import bars, reliability_plot, share_plot
from stream.evaluation.policies import ablate
from stream.evaluation.reliability import Judged, Reliability
from stream.evaluation.report import Analyses, Latency, Report, figures
from stream.evaluation.report_page import ReportFolder, as_page, marked_text
from stream.evaluation.runner import answer, score
from stream.ner.calibration import Calibration, Temperature
from stream.ner.extractor import Extractor
from tests.evaluation.test_count_errors import Obedient
from tests.evaluation.test_runner import annotated
from tests.ner.oracle import tiny_template

HOSTILE = "<script>alert('x')</script>&\"'"
_VOID = {"meta"}


class Outline(HTMLParser):
    """Checks that every tag is closed in its turn, and keeps tags and text."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.text = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        """Opens."""
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Opens and closes."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        """Closes what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Keeps what is not small."""
        if "small" not in self.open and "style" not in self.open:
            self.text.append(data)


@pytest.fixture
async def report():
    """A report with everything in it, on texts and labels that look like HTML."""
    label = f"PER{HOSTILE}"
    documents = [
        annotated(f"Ann {HOSTILE} Bo", **{label: ["Ann"], "LOC": ["Bo"]}),
        annotated("Ann and Cid", **{label: ["Cid"]}).model_copy(update={"id": HOSTILE}),
    ]
    template = tiny_template()
    recorder = Recorder(Obedient(template, lambda text, _: ["Ann"] if "Ann" in text else []))
    labels = [label, "LOC"]
    got = await answer(documents, Extractor(recorder, template), labels)
    calibration = Calibration(default=Temperature(temperature=2), labels={label: Temperature(temperature=3)})
    evaluation = score(got.answers, labels, calibration=calibration)
    evaluation.seconds = got.seconds
    reliability = Reliability.of(evaluation.judged)
    counts = CountErrors(recorder, template, labels, calibration=calibration)
    return Report(
        about={"model": HOSTILE},
        evaluation=evaluation,
        reliability=reliability,
        latency=Latency.of(got.latencies, 7),
        fitted=Fitted(
            calibration, 3, before=Reliability.of(score(got.answers, labels).judged), after=reliability
        ),
        analyses=Analyses(
            policies=ablate(got.answers, labels, calibration),
            uncalibrated=None,
            marked=mark(got.answers, labels, Policy.PAPER, calibration),
            differences=differences(got.answers, labels),
            costs=await counts.cost(iter(documents)),
        ),
    )


def test_report_page_needs_nothing_and_escapes_everything(report):
    """Sound HTML with plots and marks; whatever texts and labels hold is shown and never run or fetched."""
    page = as_page(report)
    outline = Outline(page)
    tags = [tag for tag, _ in outline.tags]
    assert "script" not in tags
    assert "link" not in tags
    assert not re.search(r"\b(src|href)=|url\(|@import|https?:", page)
    assert tags.count("svg") == 3
    kinds = {attributes.get("class") for tag, attributes in outline.tags if tag == "mark"}
    assert {"right", "missed", "invented", "label"} <= kinds
    assert HOSTILE in "".join(outline.text)
    assert "prefers-color-scheme: dark" in page


def test_report_figures_hold_what_was_computed(report):
    """The documented names are there with their figures, and all of it is JSON."""
    found = json.loads(json.dumps(figures(report)))
    assert found["documents"] == 2
    assert found["passes_per_document"] == 3.5
    assert found["ece"] == round(report.fitted.after.error, 4) == found["calibration"]["ece_after"]
    assert set(found["policies"]) == {"none", "paper", "flat", "nested", "multi"}
    assert found["policies"]["paper"]["f1"] == found["f1"]
    own = next(each for each in found["wrong_counts"] if each["counts"] == "own")
    assert own["f1"] == found["f1"]
    assert set(found["labels"]) == {"LOC", f"PER{HOSTILE}"}
    assert sum(each["gold"] for each in found["labels"].values()) == 3


def test_report_figures_leave_out_what_was_not_computed(report):
    """Without analyses, temperatures or a model their names are not there."""
    bare = Report(about={}, evaluation=report.evaluation, reliability=report.reliability)
    assert not {"policies", "wrong_counts", "calibration", "latency_ms"} & set(figures(bare))
    Outline(as_page(bare))


def test_report_folder_holds_both_files(report, tmp_path):
    """A folder that was not there holds report.json with the worst answers, and report.html."""
    ReportFolder.make(tmp_path / "new" / "folder").write(report)
    whole = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    assert whole["about"] == {"model": HOSTILE}
    assert {mark["kind"] for mark in whole["worst"][0]["gold"]} <= {kind.value for kind in Kind}
    assert (tmp_path / "new" / "folder" / "report.html").read_text().startswith("<!doctype html>")


def test_report_folder_that_cannot_be_is_refused_at_once(tmp_path):
    """A file in the folder's place is named before anything is computed."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file cannot be written"):
        ReportFolder.make(tmp_path / "file")


@st.composite
def marked_documents(draw):
    """A wild text with marks anywhere, overlapping, nested and behind its end."""
    text = draw(st.text(st.sampled_from("ab <&>\"'\u6771\u0301 "), min_size=1, max_size=40))
    ends = st.integers(0, len(text))
    places = draw(st.lists(st.tuples(ends, ends).map(sorted).filter(lambda p: p[0] < p[1]), max_size=6))
    kinds = st.sampled_from(list(Kind))
    marks = [Mark(s, e, text[s:e], "<L>", draw(kinds), 0.5) for s, e in places]
    return Marked(annotated(text), (), tuple(marks))


@given(marked_documents())
def test_marked_text_keeps_the_text(document):
    """Without the labels' names what is shown is the text itself, and every mark is named once."""
    text = document.document.text
    shown = marked_text(text, document.predicted, document)
    assert "".join(Outline(shown).text) == text
    assert shown.count("&lt;L&gt; 0.50") == len(document.predicted)


def test_marked_text_shows_the_part_with_the_mistakes():
    """A long text is cut around what is wrong in it; what is not in the text stands behind it."""
    text = "far " * 500 + "wrong " + "off " * 500
    start = text.index("wrong")
    marks = (
        Mark(start, start + 5, "wrong", "PER", Kind.INVENTED, 0.5),
        Mark(len(text), len(text) + 3, "Zed", "PER", Kind.INVENTED, 0.5),
    )
    shown = "".join(Outline(marked_text(text, marks, Marked(annotated(text), (), marks))).text)
    assert shown.startswith("… far")
    assert "wrong" in shown
    assert len(shown) < 500
    assert shown.rstrip().endswith("Zed")


def test_plots_place_what_they_show():
    """The corners of a plot are 0 and 1, and a bar is as long as its value."""
    perfect = Reliability.of([Judged("A", 1.0, right=True), Judged("A", 0.0, right=False)])
    assert 'points="44.0,312.0 344.0,12.0"' in reliability_plot({"<x>": perfect})
    assert "&lt;x&gt;: 1 entities" in reliability_plot({"<x>": perfect})
    drawn = share_plot("t", "share", {"one": [(0.0, 0.5), (1.0, 0.25)]}, level=0.75)
    assert 'points="44.0,162.0 344.0,237.0"' in drawn
    assert 'points="44.0,87.0 344.0,87.0"' in drawn
    assert 'width="150.0"' in bars("t", {"half": 0.5})
