"""The page of a decode."""

import re
from html.parser import HTMLParser

from stream.cli.explain_html import as_page
from stream.evaluation.explanation import Answering, Candidate, Step
from stream.messages import Coverage, Entity
from stream.ner.extractor import Extraction

TEXT = 'Ann & <script>alert("Bo")</script>'
ANSWER = Answering("person <num>1", "", "Ann", True, (Candidate("Ann", " & <script>", "shape"),))
STEP = Step(1, ((0, TEXT),), 9, 0, 3, 1, (ANSWER,), {"run": 1.0})
ENTITY = Entity(text="Ann", label="<PER>", start=0, end=3, score=1.0, count_score=1.0)


def page():
    """A page about a text that tries to be a program."""
    coverage = Coverage(windows=1, characters=len(TEXT), unread=[], capped=[])
    extraction = Extraction([ENTITY], [], coverage, ["<PER>"], {"<PER>": 1}, {})
    return as_page(TEXT, extraction, [STEP])


def test_explain_html_needs_nothing_from_a_network():
    """The page names no address, loads nothing, and holds no script."""
    assert not re.search(r"https?:|//|src=|href=|<script|@import|url\(", page())


def test_explain_html_shows_the_text_as_it_is():
    """What a text holds is shown, not obeyed."""
    shown = []
    parser = HTMLParser()
    parser.handle_data = shown.append
    parser.feed(page())
    assert 'alert("Bo")' in "".join(shown)
    assert "<PER>" in "".join(shown)
