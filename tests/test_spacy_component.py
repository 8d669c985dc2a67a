"""The component of a spaCy pipeline, with the bundled model."""

import re
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc

PAGE = (Path(__file__).parent.parent / "docs/spacy.md").read_text(encoding="utf-8")
TEXT = "Angela Merkel met Emmanuel Macron in Paris."


@pytest.fixture(scope="module")
def nlp():
    """A blank pipeline with the component, found by its entry point."""
    pipeline = spacy.blank("en")
    component = pipeline.add_pipe("padellm", config={"labels": ["person", "location"]})
    yield pipeline
    component.close()


def found(doc) -> list[tuple[str, str]]:
    """Texts and labels of a document's entities."""
    return [(entity.text, entity.label_) for entity in doc.ents]


EXPECTED = [("Angela Merkel", "person"), ("Emmanuel Macron", "person"), ("Paris", "location")]


def test_spacy_component_marks_entities(nlp):
    """Entities are in doc.ents, and in the span group with a score each."""
    doc = nlp(TEXT)
    assert found(doc) == EXPECTED
    group = doc.spans["padellm"]
    assert [(span.text, span.label_) for span in group] == EXPECTED
    assert len(group.attrs["scores"]) == 3
    assert all(0 < score <= 1 for score in group.attrs["scores"])


def test_spacy_component_keeps_the_order_and_empty_documents(nlp):
    """A stream of documents comes back in its order, those without a text too."""
    docs = nlp.pipe([TEXT, "", "  ", "Nothing.", TEXT], batch_size=2)
    assert [found(doc) for doc in docs] == [EXPECTED, [], [], [], EXPECTED]


@pytest.mark.parametrize(
    ("alignment", "expected"),
    [("expand", ["Angela Merkel,said", "Paris"]), ("contract", ["Angela", "Paris"]), ("strict", ["Paris"])],
)
def test_spacy_component_aligns_entities_with_tokens(alignment, expected):
    """An entity that ends inside a token is aligned as configured, and kept as it was found."""
    pipeline = spacy.blank("en")
    component = pipeline.add_pipe(
        "padellm", config={"alignment": alignment, "labels": ["person", "location"]}
    )
    words = ["Angela", "Merkel,said", "that", "she", "lives", "in", "Paris", "."]
    doc = component(Doc(pipeline.vocab, words=words, spaces=[True] * 6 + [False, False]))
    component.close()
    assert [entity.text for entity in doc.ents] == expected
    first = doc.user_data["padellm"][0]
    assert (first["text"], doc.text[first["start"] : first["end"]]) == ("Angela Merkel", "Angela Merkel")


def test_spacy_component_survives_a_journey_to_disk(nlp, tmp_path):
    """A pipeline that is stored and loaded finds the same."""
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert found(loaded(TEXT)) == EXPECTED
    loaded.get_pipe("padellm").close()


def test_spacy_component_names_a_wrong_alignment():
    """An alignment that spaCy does not have is named when the component is added."""
    with pytest.raises(ValueError, match="alignment='loose' is none of expand, contract and strict"):
        spacy.blank("en").add_pipe("padellm", config={"alignment": "loose"})


def test_spacy_component_page_runs(capsys):
    """The page's program prints entities."""
    (program,) = re.findall(r"<!-- snippet: spacy -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(program, names)
    names["nlp"].get_pipe("padellm").close()
    assert "('Ada Lovelace', 'person')" in capsys.readouterr().out
