"""Entities shown in their text."""

from hypothesis import given
from hypothesis import strategies as st

from stream.cli.highlight import highlight, label_colour
from stream.contract.messages import Entity


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
    assert "\x1b" not in highlight("x", [entity("x", 0, 1, "\x1b[2J")]).plain


def test_highlight_tells_the_usual_labels_apart():
    """No two of the usual labels share a colour."""
    for labels in (("person", "location", "organization", "miscellaneous"), ("PER", "LOC", "ORG", "MISC")):
        assert len({label_colour(label) for label in labels}) == len(labels)
