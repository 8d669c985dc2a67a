"""Reports, as figures and as a page."""

import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.messages import Policy
from stream.evaluation.calibration import Fitted
from stream.evaluation.count_errors import CountErrors, Recorder, differences
from stream.evaluation.mistakes import Mark, MarkedDocument, MatchKind, mark
from stream.evaluation.policies import ablate
from stream.evaluation.reliability import Reliability
from stream.evaluation.report import Analyses, Latency, Report, figures, whole
from stream.evaluation.report_page import as_page, pieces
from stream.evaluation.runner import answer, score
from stream.ner.calibration import Calibration, Temperature
from stream.ner.extractor import Extractor
from tests.evaluation.test_count_errors import Obedient
from tests.evaluation.test_runner import annotated
from tests.ner.oracle import tiny_template

HOSTILE = "<script>alert('x')</script>&\"'{{ 7 * 7 }}$\\frac$"
_VOID = {"meta", "img"}


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

    def handle_endtag(self, tag):
        """Closes the tag opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Keeps text of the page."""
        if "style" not in self.open:
            self.text.append(data)


@pytest.fixture
async def report():
    """A report with everything in it, on texts and labels that look like HTML, a template and a formula."""
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
        about={"model": HOSTILE, "format": "padellm", "policy": "paper"},
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
            wrong_counts=await counts.measure(iter(documents)),
        ),
    )


def test_report_page_shows_hostile_text_as_text(report):
    """Texts, ids and labels are shown letter for letter, and never run, rendered or fetched."""
    page = as_page(report)
    outline = Outline(page)
    tags = [tag for tag, _ in outline.tags]
    assert not {"script", "link", "iframe"} & set(tags)
    shown = "".join(outline.text)
    assert shown.count(HOSTILE) >= 4  # model, id, label and text


def test_report_page_needs_no_network(report):
    """All that the page refers to is in the page, its three charts included."""
    page = as_page(report)
    assert not re.search(r"\bhref=|url\(|@import|https?:", page)
    sources = [attributes["src"] for tag, attributes in Outline(page).tags if tag == "img"]
    assert len(sources) == 3
    for source in sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ET.fromstring(b64decode(content)).tag.endswith("svg")


def test_report_page_marks_mistakes(report):
    """Entities are marked by kind, in light and dark."""
    page = as_page(report)
    kinds = {attributes.get("class") for tag, attributes in Outline(page).tags if tag == "mark"}
    assert {"right", "missed", "invented", "label"} <= kinds
    assert "prefers-color-scheme: dark" in page


def test_report_figures_hold_what_was_computed(report):
    """The documented names are there with their figures, and all of it is JSON."""
    found = json.loads(json.dumps(figures(report)))
    assert (found["documents"], found["format"], found["policy"]) == (2, "padellm", "paper")
    assert found["passes_per_document"] == 3.5
    assert found["ece"] == round(report.fitted.after.error, 4) == found["calibration"]["ece_after"]
    assert set(found["policies"]) == {"none", "paper", "flat", "nested", "multi"}
    assert found["policies"]["paper"]["f1"] == found["f1"]
    own = next(each for each in found["wrong_counts"] if each["counts"] == "own")
    assert own["f1"] == found["f1"]
    assert set(found["labels"]) == {"LOC", f"PER{HOSTILE}"}
    assert sum(each["gold"] for each in found["labels"].values()) == 3


def test_report_figures_leave_out_what_was_not_computed(report):
    """Without analyses, a fit or a model their names are not there."""
    bare = Report(about={}, evaluation=report.evaluation, reliability=report.reliability)
    assert not {"policies", "wrong_counts", "calibration", "latency_ms", "format"} & set(figures(bare))
    assert [tag for tag, _ in Outline(as_page(bare)).tags].count("h2") == 2


def test_report_whole_holds_the_worst_answers(report):
    """The JSON of a report has its subject and the worst documents with their marks."""
    found = json.loads(json.dumps(whole(report)))
    assert found["about"]["model"] == HOSTILE
    assert {each["kind"] for each in found["worst"][0]["gold"]} <= {kind.value for kind in MatchKind}


@st.composite
def marked_documents(draw):
    """A wild text with marks anywhere, overlapping, nested and behind its end."""
    text = draw(st.text(st.sampled_from("ab <&>\"'\u6771\u0301 "), min_size=1, max_size=40))
    ends = st.integers(0, len(text))
    places = draw(st.lists(st.tuples(ends, ends).map(sorted).filter(lambda p: p[0] < p[1]), max_size=6))
    kinds = st.sampled_from(list(MatchKind))
    marks = [Mark(s, e, text[s:e], "<L>", draw(kinds), 0.5) for s, e in places]
    return MarkedDocument(annotated(text), (), tuple(marks))


@given(marked_documents())
def test_pieces_keep_the_text(document):
    """The pieces are the text itself, marked where entities are, and every entity is named once."""
    text, marks = document.document.text, document.predicted
    cut = pieces(text, marks, document)
    assert "".join(piece.text for piece in cut) == text
    assert [name for piece in cut for name in piece.names] == ["<L> 0.50"] * len(marks)
    marked = sum(len(piece.text) for piece in cut if piece.kind)
    assert marked == len({at for each in marks for at in range(each.start, each.end)})


def test_pieces_show_the_part_with_the_mistakes():
    """A long text is cut around its mistakes; an entity absent from the text follows it."""
    text = "far " * 500 + "wrong " + "off " * 500
    start = text.index("wrong")
    marks = (
        Mark(start, start + 5, "wrong", "PER", MatchKind.INVENTED, 0.5),
        Mark(len(text), len(text) + 3, "Zed", "PER", MatchKind.INVENTED, 0.5),
    )
    cut = pieces(text, marks, MarkedDocument(annotated(text), (), marks))
    shown = "".join(piece.text for piece in cut)
    assert shown.startswith("… far")
    assert "wrong" in shown
    assert len(shown) < 500
    assert (cut[-1].text, cut[-1].names) == ("Zed", ("PER 0.50", "not in the text"))
