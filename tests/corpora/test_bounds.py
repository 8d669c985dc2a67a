"""Bounds on the time and memory that a megabyte of anything takes."""

import json

import pytest

from stream.contract.messages import Policy
from stream.corpora.conversion import Conversion
from stream.corpora.document import AnnotatedDocument
from stream.corpora.formats import FORMATS
from stream.corpora.parsing import Options
from stream.corpora.predictions import read_predictions
from stream.errors import ConfigurationError
from stream.evaluation.alignment import align
from stream.evaluation.predictions import match
from tests.bounds import bounded
from tests.corpora.documents import document

SECONDS = 10  # one to four on an idle machine; what grows with the square takes minutes

NAMES = ["Ada", "Bo Lee", "Oslo", "Universität Lund", "😀", "Eva of Bergen"]
LABELS = ["PER", "LOC", "ORG"]


def book(entities: int = 5_000) -> AnnotatedDocument:
    """One text as long as a book, with an entity in every line."""
    pieces: list[str] = []
    spans = []
    at = 0
    for number in range(entities):
        before = f" and on page {number} of this book, which is as long as a book, we meet them again:\n"
        name = NAMES[number % len(NAMES)]
        at += len(before)
        spans.append((at, at + len(name), LABELS[number % len(LABELS)]))
        at += len(name)
        pieces += [before, name]
    return document("".join(pieces), *spans, name="book")


def times(row: str, separator: str = "\n") -> str:
    """A megabyte of one row, again and again."""
    return separator.join([row] * (1_000_000 // len(row + separator)))


WIDE = ",".join(f'[{at},{400_000 - at},"A"]' for at in range(25_000))
BESIDE = '{"start": 0, "end": 9, "text": "b", "label": "A"}'
TOKEN = '"a"'
TOKENS = ",".join([TOKEN] * 400_001)
WHOLE = '[0, 499999, "a", "A"]'
HOSTILE = {
    "jsonl": {
        "a long text": json.dumps({"text": "a b " * 250_000, "entities": []}),
        "many documents": times('{"text": "Ada sang", "entities": []}'),
        "entities without fields": f'{{"text": "a", "entities": [{times("{}", ",")}]}}',
        "entities beside the text": f'{{"text": "a", "entities": [{times(BESIDE, ",")}]}}',
        "deep nesting": "[" * 1_000_000,
        "blank lines": "\n" * 1_000_000,
    },
    "doccano": {
        "entities of the whole text": f'{{"text": "{"a" * 400_000}", "label": [{WIDE}]}}',
        "spans that are none": f'{{"text": "a", "label": [{times("{}", ",")}]}}',
        "spans of another unit": json.dumps({"text": "😀 ab" * 100_000, "label": [[7, 8, "X"]] * 40_000}),
        "bad documents": times('{"text": "Ada sang", "label": [7]}'),
        "deep nesting": '{"a":' * 200_000,
    },
    "gliner": {
        "many tokens": f'[{{"tokenized_text": [{times(TOKEN, ",")}], "ner": []}}]',
        "entities of the whole text": f'[{{"tokenized_text": [{TOKENS}], "ner": [{WIDE}]}}]',
        "bad items": f"[{times(json.dumps(['no item at all']), ',')}]",
        "blanks": "[" + " " * 1_000_000,
        "deep nesting": "[" * 1_000_000,
    },
    "padellm": {
        "entities of the whole text": f'["{"a" * 500_000}", {times(WHOLE, ",")}]',
        "spans that are none": f'["a", {times("{}", ",")}]',
        "many documents": times('["Ada sang", [0, 2, "Ada", "PER"]]'),
    },
    "conll": {
        "one sentence": times("token\tB-PER\nafter\tO\nanother\tO"),
        "a long run of tags": "token\tB-PER\n" + times("token\tI-PER"),
        "tags that are wrong": times("token\tI-PER"),
        "many sentences": times("token of a\tO\n"),
        "lines without tags": times("a-long-token"),
        "a long line": "a" * 1_000_000,
        "columns": "a\t" * 500_000,
        "many columns": times("1 token token PROPN _ Gender=Fem 3 nsubj _ B-PER"),
    },
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, kind) for name, kinds in HOSTILE.items() for kind in kinds]
)
def test_bounds_of_reading_anything(tmp_path, name, content):
    """A megabyte of anything is converted or refused within seconds and 100 MB, in a short message."""
    source = tmp_path / "in"
    source.write_text(HOSTILE[name][content], "utf-8")
    refusal = ""
    with bounded(seconds=SECONDS, megabytes=100):
        try:
            Conversion(FORMATS[name], FORMATS["jsonl"]).run(source, tmp_path / "out")
        except ConfigurationError as error:
            refusal = str(error)
    assert len(refusal) < 5_000


BRAT = {
    "entities of the whole text": [f"T{n}\tA {n} {400_000 - n}\ta" for n in range(25_000)],
    "pieces without end": ["T1\tA " + ";".join(["0 0", "400000 400000"] * 50_000) + "\t" + " " * 99_999],
    "pieces far apart": [f"T{n}\tA 0 1;399999 400000\ta a" for n in range(25_000)],
    "lines that are none": ["?"] * 400_000,
}


@pytest.mark.parametrize("annotation", BRAT)
def test_bounds_of_reading_brat(tmp_path, annotation):
    """A megabyte of standoff is converted or refused within seconds and 100 MB."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a" * 400_000)
    (tmp_path / "in" / "a.ann").write_text("\n".join(BRAT[annotation]))
    with bounded(seconds=SECONDS, megabytes=100), pytest.raises(ConfigurationError):
        Conversion(FORMATS["brat"], FORMATS["jsonl"]).run(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("name", ["jsonl", "conll", "spacy", "gliner", "doccano", "brat", "padellm"])
def test_bounds_of_a_book(tmp_path, name):
    """A book with 5,000 entities is converted to and fro within seconds and 100 MB."""
    FORMATS["spacy"].write([document("Ada")], tmp_path / "first", Options())  # imports spaCy
    FORMATS["jsonl"].write([book()], tmp_path / "book.jsonl", Options())
    with bounded(seconds=SECONDS, megabytes=100):
        Conversion(FORMATS["jsonl"], FORMATS[name]).run(tmp_path / "book.jsonl", tmp_path / "book")
    with bounded(seconds=SECONDS, megabytes=100):
        report = Conversion(FORMATS[name], FORMATS["jsonl"]).run(tmp_path / "book", tmp_path / "out")
    assert report.entities == 5_000


@pytest.mark.parametrize("text", ["(" * 300_000, "(((((((a " * 40_000, "a-b.c/" * 50_000])
def test_bounds_of_writing_punctuation_for_spacy(tmp_path, text):
    """Runs of punctuation are written within seconds, and the text comes back as it is."""
    FORMATS["spacy"].write([document("Ada")], tmp_path / "first", Options())
    # spaCy's own Doc takes some 400 bytes a token, and a token here is a character or two.
    with bounded(seconds=SECONDS, megabytes=200):
        FORMATS["spacy"].write([document(text, (1, 2, "A"))], tmp_path / "out", Options())
    (parsed,) = FORMATS["spacy"].read(tmp_path / "out", Options())
    assert parsed.document.text == text


@pytest.mark.parametrize("keep", [("text", "label"), ("text", "label", "start", "end")])
def test_bounds_of_predictions_for_a_book(tmp_path, keep):
    """The predictions for a book, with offsets or without, are read, placed and paired within seconds."""
    gold = book()
    entities = [{name: getattr(entity, name) for name in keep} for entity in gold.entities]
    entities += [{"text": f"nobody {number}", "label": "PER"} for number in range(100)]
    (tmp_path / "in").write_text(json.dumps({"id": "book", "entities": entities}))
    with bounded(seconds=SECONDS, megabytes=100):
        (answer,) = match(tmp_path / "in", read_predictions(tmp_path / "in"), [gold])
        alignment = align(answer.settle(Policy.MULTI).entities, gold.entities)
    assert len(alignment.exact) == 5_000
    assert len(alignment.wrong) == 100


PREDICTIONS = {
    "labels": [{"text": "a", "label": f"L{number}"} for number in range(20_000)],
    "repeats": [{"text": "a", "label": "A"}] * 20_000,
    "two in turn": [{"text": text, "label": "A"} for text in ("z", "a")] * 10_000,
}


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_bounds_of_placing_mentions(tmp_path, kind):
    """Mentions that the text has everywhere are placed within seconds."""
    (tmp_path / "in").write_text(json.dumps({"id": "1", "entities": PREDICTIONS[kind]}))
    with bounded(seconds=SECONDS, megabytes=100):
        match(tmp_path / "in", read_predictions(tmp_path / "in"), [document("a " * 100_000 + "z", name="1")])


def test_bounds_of_events(tmp_path):
    """A megabyte of events, each an entity of one document, is read within seconds."""
    rows = [
        {"event_id": f"x/{n}", "document_id": "1", "entities": [{"text": "a", "label": "A"}]}
        for n in range(10_000)
    ]
    (tmp_path / "in").write_text("\n".join(map(json.dumps, rows)))
    with bounded(seconds=SECONDS, megabytes=100):
        (predicted,) = read_predictions(tmp_path / "in")
    assert len(predicted.mentions) == 10_000


def test_bounds_of_pairing_a_chain():
    """Entities that overlap in one long chain are all paired within seconds."""
    gold = document("a" * 40_001, *[(at, at + 2, "A") for at in range(0, 40_000, 2)])
    ours = document("a" * 40_001, *[(at + 1, at + 3, "A") for at in range(0, 39_998, 2)])
    with bounded(seconds=SECONDS, megabytes=100):
        alignment = align(ours.entities, gold.entities)
    assert len(alignment.overlapping) == 19_999
