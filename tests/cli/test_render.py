"""Documents on a terminal."""

import re

from hypothesis import given
from hypothesis import strategies as st

from stream.cli.highlight import document_line, entities_line, printable
from stream.contract.messages import Entity


def _entity(text: str, start: int, label: str = "person") -> Entity:
    return Entity(text=text, label=label, start=start, end=start + len(text), score=0.9, count_score=1.0)


def test_render_highlights_entities_where_they_are():
    """Each entity is followed by its label, in the text."""
    line = document_line("Ann met Bob.", [_entity("Ann", 0), _entity("Bob", 8)])
    assert re.fullmatch(r"Ann \W?person\W? met Bob \W?person\W?\.", line.plain)


def test_render_cuts_a_long_text_and_says_so():
    """A long text is cut after its first part, never within an entity; what is left out is counted."""
    text = "x" * 595 + "Alexander" + "x" * 5000 + "Bob"
    line = document_line(text, [_entity("Alexander", 595), _entity("Bob", 5604)]).plain
    assert re.search(r"xAlexander \W?person\W?", line)
    assert line.endswith("... (5,607 characters, 1 more entities)")


def test_render_lists_entities_without_a_text():
    """Where the text is not at hand the entities stand alone, with their offsets."""
    assert entities_line([_entity("Ann", 3)]).plain == "Ann person 3-6"
    assert entities_line([]).plain == "no entities"


@given(st.text())
def test_render_lets_no_text_steer_the_terminal(text):
    """Control characters and line ends are gone, and every character keeps its place."""
    shown = printable(text)
    assert len(shown) == len(text)
    assert not set(shown) & {"\x1b", "\n", "\r", "\x07", "\u202e", "\x9b"}
