"""The page of a decode."""

import re
from html.parser import HTMLParser

from stream.bench.fixings import Fixing
from stream.cli.explain_view import as_page
from stream.contract.messages import Coverage, Entity
from stream.ner.extractor import Extraction
from stream.passes import Answering, Candidate, Step

TEXT = 'Ann & <script>alert("Bo")</script>'
ANSWER = Answering("person <num>1", "", "Ann", True, (Candidate("Ann", " & <script>", "shape"),))
STEP = Step(1, ((0, TEXT),), 9, 0, 3, 1, (ANSWER,), {"run": 1.0})
FIXING = Fixing("person <num>1", ("Ann", " & <script>", "Bo"), (1, 2, 2))
ENTITY = Entity(text="Ann", label="<PER>", start=0, end=3, score=1.0, count_score=1.0)


def page():
    """A page about a text that tries to be a program."""
    coverage = Coverage(windows=1, characters=len(TEXT), unread=[], capped=[])
    extraction = Extraction([ENTITY], [], coverage, ["<PER>"], {"<PER>": 1}, {})
    return as_page(TEXT, extraction, [STEP], [FIXING])


def test_explain_html_needs_nothing_from_a_network():
    """The page names no address, loads nothing, and holds no script."""
    assert not re.search(r"https?:|//|src=|href=|<script|@import|url\(", page())


def test_explain_html_draws_a_row_for_every_pass_and_a_box_for_every_token():
    """Tokens known in the same pass stand in the same row, one behind the other."""
    boxes = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"', page())
    assert page().count(">pass ") == 2
    assert [float(y) for _, y in boxes] == sorted(float(y) for _, y in boxes)
    assert len({y for _, y in boxes}) == 2
    assert [float(x) for x, _ in boxes] == sorted({float(x) for x, _ in boxes})


def test_explain_html_shows_the_text_as_it_is():
    """What a text holds is shown, not obeyed."""
    shown = []
    parser = HTMLParser()
    parser.handle_data = shown.append
    parser.feed(page())
    assert 'alert("Bo")' in "".join(shown)
    assert "<PER>" in "".join(shown)
