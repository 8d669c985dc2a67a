"""Reading corpora."""

import pytest

from stream.errors import ConfigurationError
from stream.training.corpora import (
    PhraseMention,
    comparable,
    dev_texts,
    load_corpus,
    load_scored,
    plain_paragraphs,
)
from stream.training.sections import CorpusConfig
from tests.training.synthetic import write_data, write_rows

CONFIG = CorpusConfig(name="names", labels={"PER": ("person",), "LOC": ("country", "location")})


def entity(text: str, start: int, end: int, label: str = "PER") -> dict:
    """An entity as it stands in a file."""
    return {"start": start, "end": end, "text": text, "label": label}


@pytest.fixture
def data(tmp_path):
    """A data folder whose one corpus a test fills."""
    (tmp_path / "ner" / "names").mkdir(parents=True)
    return tmp_path


def test_corpora_mentions_come_in_text_order_under_their_phrases(data):
    """Mentions are sorted by place, named by the recipe's phrases, and the inventory lists all of these."""
    entities = [entity("Oslo", 7, 11, "LOC"), entity("Ada", 0, 3)]
    write_rows(data / "ner/names/train.jsonl.gz", [{"id": "1", "text": "Ada in Oslo", "entities": entities}])
    (only,) = load_corpus(data, CONFIG).sentences
    assert only.mentions == (PhraseMention(0, 3, ("person",)), PhraseMention(7, 11, ("country", "location")))
    assert only.inventory == ("person", "country", "location")


def test_corpora_leave_out_unlisted_labels_and_bare_punctuation(data):
    """Labels without a phrase and mentions without a letter or digit are no mentions."""
    entities = [entity("@", 0, 1), entity("Ada", 2, 5, "MISC")]
    write_rows(data / "ner/names/train.jsonl.gz", [{"id": "1", "text": "@ Ada", "entities": entities}])
    assert load_corpus(data, CONFIG).sentences[0].mentions == ()


def test_corpora_ask_a_text_for_the_labels_that_it_names(data):
    """A text that names its labels is asked for no other, and one that names none is left out."""
    rows = [
        {"id": str(n), "text": f"Ada {n}", "entities": [], "labels": names}
        for n, names in enumerate([["PER"], []])
    ]
    write_rows(data / "ner/names/train.jsonl.gz", rows)
    assert [one.inventory for one in load_corpus(data, CONFIG).sentences] == [("person",)]


@pytest.mark.parametrize("leave_out", [None, 2])
def test_corpora_are_scored_on_every_entity_under_its_phrases(data, leave_out):
    """The gold of a score has what `padellm evaluate` counts, bare punctuation too, named by the phrases."""
    entities = [entity("@", 0, 1), entity("Ada", 2, 5, "LOC"), entity("Ada", 2, 5, "MISC")]
    row = {"text": "@ Ada", "entities": entities}
    others = [{"id": str(n), "text": "None", "entities": []} for n in range(1, 3)]
    split = "train" if leave_out else "dev"
    write_rows(data / f"ner/names/{split}.jsonl.gz", [{"id": "0"} | row, *others])
    first, *rest = load_scored(data, CONFIG.model_copy(update={"leave_out": leave_out}))
    assert [(one.text, one.label) for one in first.entities] == [
        ("@", "person"),
        ("Ada", "country"),
        ("Ada", "location"),
    ]
    assert [one.id for one in rest] == (["2"] if leave_out else ["1", "2"])


def test_corpora_leave_out_sentences_of_development_sets(tmp_path):
    """A training sentence that a development set holds, in other case or spacing, is dropped."""
    data = write_data(tmp_path)
    write_rows(data / "ner/names/dev.jsonl.gz", [{"id": "1", "text": "ADA , Oslo", "entities": []}])
    train = [
        {"id": str(n), "text": text, "entities": []} for n, text in enumerate(["Ada, Oslo", "Ada, Paris"])
    ]
    write_rows(data / "ner/names/train.jsonl.gz", train)
    kept = load_corpus(data, CONFIG, unseen=dev_texts(data)).sentences
    assert [s.text for s in kept] == ["Ada, Paris"]


def test_corpora_name_the_line_whose_span_is_wrong(data):
    """A span that is not its text's stops the run, and the message names file, line and both texts."""
    rows = [{"id": "row-7", "text": "Ada in Oslo", "entities": [entity("Oslo", 0, 4)]}]
    write_rows(data / "ner/names/train.jsonl.gz", rows)
    with pytest.raises(ConfigurationError, match=r'train\.jsonl\.gz, line 1: entity "Oslo" .* "Ada "'):
        load_corpus(data, CONFIG)


def test_corpora_missing_file_is_a_configuration_error(data):
    """A corpus that is not there is named."""
    with pytest.raises(ConfigurationError, match=r"names/train\.jsonl\.gz cannot be read"):
        load_corpus(data, CONFIG)


def test_corpora_plain_paragraphs_have_no_empty_lines(tmp_path):
    """Blank lines between documents are no paragraphs."""
    paragraphs = plain_paragraphs(write_data(tmp_path), ["plain.txt.gz"])
    assert paragraphs == ("First paragraph of a text .", "Second one , about Paris .")


def test_corpora_comparable_ignores_case_and_spacing():
    """Raw and tokenised copies of a sentence compare equal."""
    assert comparable("Ada , OSLO .") == comparable("ada, Oslo.")
