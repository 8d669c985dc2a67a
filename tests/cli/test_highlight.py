"""Documents and their entities on a terminal."""

import re

from hypothesis import given
from hypothesis import strategies as st

from stream.cli.highlight import (
    document_line,
    entities_line,
    event_line,
    highlight,
    label_colour,
    printable,
)
from stream.contract.messages import Entity
from stream.offsets import OffsetUnit
from stream.schemas.examples import EVENT


def entity(text, start, end, label):
    """An entity of a text."""
    return Entity(text=text[start:end], label=label, start=start, end=end, score=1.0, count_score=1.0)


def test_highlight_follows_entities_with_their_labels():
    """Each entity is followed by its label, also nested ones, and coloured as its label."""
    text = "Bank of Rome"
    shown = highlight(text, [entity(text, 0, 12, "ORG"), entity(text, 8, 12, "LOC")])
    assert shown.plain == "Bank of Rome [LOC] [ORG]"
    styles = {shown.plain[span.start : span.end]: str(span.style) for span in shown.spans}
    assert label_colour("LOC") in styles["Rome"]


@given(st.text(alphabet="ab 東😀", min_size=1, max_size=20), st.data())
def test_highlight_changes_no_text(text, data):
    """Without the labels the text is what it was, however entities overlap."""
    entities = []
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(text) - 1))
        entities.append(entity(text, start, data.draw(st.integers(start + 1, len(text))), "§"))
    assert highlight(text, entities).plain.replace(" [§]", "") == text


def test_highlight_label_cannot_steer_the_terminal():
    """A label with control characters is shown escaped."""
    steering = [entity("x", 0, 1, "\x1b[2J")]
    assert "\x1b" not in highlight("x", steering).plain
    assert "\x1b" not in entities_line(steering).plain


def test_highlight_tells_the_usual_labels_apart():
    """No two of the usual labels share a colour."""
    for labels in (("person", "location", "organization", "miscellaneous"), ("PER", "LOC", "ORG", "MISC")):
        assert len({label_colour(label) for label in labels}) == len(labels)


def _entity(text: str, start: int, label: str = "person") -> Entity:
    return Entity(text=text, label=label, start=start, end=start + len(text), score=0.9, count_score=1.0)


def test_highlight_highlights_entities_where_they_are():
    """Each entity is followed by its label, in the text."""
    line = document_line("Ann met Bob.", [_entity("Ann", 0), _entity("Bob", 8)])
    assert re.fullmatch(r"Ann \W?person\W? met Bob \W?person\W?\.", line.plain)


def test_highlight_cuts_a_long_text_and_says_so():
    """A long text is cut after its first part, never within an entity; what is left out is counted."""
    text = "x" * 595 + "Alexander" + "x" * 5000 + "Bob"
    line = document_line(text, [_entity("Alexander", 595), _entity("Bob", 5604)]).plain
    assert re.search(r"xAlexander \W?person\W?", line)
    assert line.endswith("... (5,607 characters, 1 more entities)")


def test_highlight_lists_entities_without_a_text():
    """Where the text is not at hand the entities stand alone, with their offsets."""
    assert entities_line([_entity("Ann", 3)]).plain == "Ann person 3-6"
    assert entities_line([]).plain == "no entities"


@given(st.text())
def test_highlight_lets_no_text_steer_the_terminal(text):
    """Control characters and line ends are gone, and every character keeps its place."""
    shown = printable(text)
    assert len(shown) == len(text)
    assert not set(shown) & {"\x1b", "\n", "\r", "\x07", "\u202e", "\x9b"}


def test_highlight_event_shows_each_field_with_its_entities():
    """An event's fields are lines of their own, whatever unit its offsets count."""
    found = [
        entity("Ada", 0, 3, "PER").model_copy(update={"field": "/title"}),
        Entity(text="Eva", label="PER", start=3, end=6, score=1.0, count_score=1.0, field="/body"),
        Entity(text="Zoë", label="PER", start=0, end=3, score=1.0, count_score=1.0, field="/gone"),
    ]
    event = EVENT.model_copy(
        update={
            "entities": found,
            "fields": dict.fromkeys(("/title", "/body", "/gone"), EVENT.coverage),
            "offsets": OffsetUnit.UTF_16,
        }
    )
    shown = event_line(event, {"/title": "Ada", "/body": "🚀 Eva"}).plain
    assert shown.splitlines() == [
        "note-1  ",
        "  /title  Ada [PER]",
        "  /body  🚀 Eva [PER]",
        "  /gone  Zoë PER 0-3",
    ]
