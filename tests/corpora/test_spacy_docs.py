"""spaCy's files, read and written beside spaCy's own reading and writing."""

import sys
import zlib

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span

from stream.corpora import spacy_docs
from stream.errors import ConfigurationError
from tests.corpora.documents import document

FLAT = document("Ann's in St.Paul.", (0, 3, "PER"), (12, 16, "LOC"), name="a")
NESTED = document("Bank of  Oslo", (0, 13, "ORG"), (9, 13, "LOC"))


def stored(file):
    """The docs of a file as spaCy reads them."""
    vocabulary = spacy.blank("xx").vocab
    return list(DocBin().from_disk(file).get_docs(vocabulary))


def test_spacy_finds_what_is_written(tmp_path):
    """A flat document has its entities in doc.ents; one with overlap has all of them in the span group sc."""
    file = tmp_path / "train.spacy"
    spacy_docs.write([FLAT, NESTED], file)
    flat, nested = stored(file)
    assert flat.text == FLAT.text
    assert [(span.text, span.label_) for span in flat.ents] == [("Ann", "PER"), ("Paul", "LOC")]
    assert [token.text for token in flat] == ["Ann", "'s", "in", "St", ".", "Paul", "."]
    assert not nested.ents
    assert {(span.text, span.label_) for span in nested.spans["sc"]} == {
        ("Bank of  Oslo", "ORG"),
        ("Oslo", "LOC"),
    }


def test_spacy_docs_are_read_as_spacy_wrote_them(tmp_path):
    """Entities of doc.ents and of sc are read once each, other span groups are not, and an id is made up."""
    pipeline = spacy.blank("en")
    doc = pipeline("Ann Lee lives in Oslo.")
    doc.ents = [Span(doc, 0, 2, "PER")]
    doc.spans["sc"] = [Span(doc, 0, 2, "PER"), Span(doc, 0, 1, "FIRST")]
    doc.spans["incorrect_spans"] = [Span(doc, 4, 5, "PER")]
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "dev.spacy")
    (reading,) = spacy_docs.read(tmp_path / "dev.spacy")
    assert reading.document == document(doc.text, (0, 7, "PER"), (0, 3, "FIRST"), name="dev-1")


def test_spacy_docs_with_entities_that_are_none_have_a_problem(tmp_path):
    """An entity without a label makes its document bad."""
    doc = Doc(spacy.blank("xx").vocab, words=["Ann"])
    doc.spans["sc"] = [Span(doc, 0, 1)]
    DocBin(docs=[doc]).to_disk(tmp_path / "dev.spacy")
    (reading,) = spacy_docs.read(tmp_path / "dev.spacy")
    assert (
        str(reading.problems[0])
        == f'{tmp_path / "dev.spacy"}, document 1: "" is no label: a label is a string that is not empty'
    )


@settings(max_examples=60)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=2)), min_size=1, max_size=4
    )
)
def test_spacy_docs_damaged_within_are_refused_or_read(tmp_path_factory, changes):
    """Damage under the compression, where spaCy itself fails in many ways, is one kind of error."""
    file = tmp_path_factory.mktemp("damaged") / "dev.spacy"
    spacy_docs.write([FLAT, NESTED], file)
    content = bytearray(zlib.decompress(file.read_bytes()))
    for place, new in changes:
        at = place % len(content)
        content[at : at + len(new)] = new
    file.write_bytes(zlib.compress(bytes(content)))
    try:
        list(spacy_docs.read(file))
    except ConfigurationError as error:
        refusal = str(error)
    else:
        refusal = str(file)
    assert str(file) in refusal


@pytest.mark.parametrize(
    "use", [lambda file: list(spacy_docs.read(file)), lambda file: spacy_docs.write([FLAT], file)]
)
def test_spacy_that_is_not_installed_is_asked_for(tmp_path, monkeypatch, use):
    """Without spaCy the message says what to install."""
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'padellm-stream\[convert\]'"):
        use(tmp_path / "a.spacy")
