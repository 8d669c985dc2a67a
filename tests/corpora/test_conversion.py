"""Documents from one format into another."""

import json

import pytest

from stream.corpora.conversion import Conversion
from stream.corpora.formats import FORMATS
from stream.corpora.parsing import Nested
from stream.errors import ConfigurationError

BANK = {"text": "Bank of Oslo", "spans": [(0, 12, "ORG"), (8, 12, "LOC")]}
CROSSING = {"text": "ab c d", "spans": [(0, 4, "ORG"), (3, 6, "LOC")]}
BOTH = {"text": "Oslo", "spans": [(0, 4, "ORG"), (0, 4, "LOC")]}
TWICE = {"text": "Oslo", "spans": [(0, 4, "ORG"), (0, 4, "ORG")]}
FLAT = {"text": "Ada", "spans": [(0, 3, "PER")]}


@pytest.fixture
def convert(tmp_path):
    """Converts documents of our own format into columns, if not told otherwise: the outcome and the file."""

    def run(*documents, to="conll", **options):
        source, target = tmp_path / "in.jsonl", tmp_path / "out"
        rows = (
            {
                "text": each["text"],
                "entities": [
                    {"start": s, "end": e, "text": each.get("said", each["text"][s:e]), "label": label}
                    for s, e, label in each["spans"]
                ],
            }
            for each in documents
        )
        source.write_text("\n".join(map(json.dumps, rows)))
        return Conversion(FORMATS["jsonl"], FORMATS[to], **options).run(source, target), target

    return run


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (
            BANK,
            'entities "Bank of Oslo" (ORG, 0-12) and "Oslo" (LOC, 8-12) overlap, and conll holds no',
        ),
        (CROSSING, 'entities "ab c" (ORG, 0-4) and "c d" (LOC, 3-6) overlap, and conll holds no overlap'),
        (BOTH, 'entities "Oslo" (ORG, 0-4) and "Oslo" (LOC, 0-4) overlap'),
        (TWICE, 'entity "Oslo" at 0-4 is marked twice as ORG'),
        (
            {"text": "Ada", "spans": [(0, 2, "PER")], "said": "Ada"},
            'entity "Ada" is marked at 0-2, where the text has "Ad"',
        ),
        ({"text": "Ada Bo", "spans": [(0, 4, "PER")]}, 'entity "Ada " begins or ends with white space'),
        ({"text": "Ada", "spans": [(0, 3, "a b")]}, 'label "a b" has white space'),
    ],
)
def test_conversion_stops_at_bad_documents_or_leaves_them_out(convert, tmp_path, bad, reason):
    """By default nothing is written, and file, line and reason are named; or all but the bad one is."""
    with pytest.raises(ConfigurationError) as refused:
        convert(FLAT, bad)
    assert "1 of 2 documents are bad" in str(refused.value)
    assert f"{tmp_path / 'in.jsonl'}, line 2: {reason}" in str(refused.value)
    assert not (tmp_path / "out").exists()

    outcome, target = convert(FLAT, bad, skip_bad=True)
    assert (outcome.documents, outcome.entities, outcome.skipped) == (1, 1, 1)
    assert [problem.place.line for problem in outcome.problems] == [2]
    assert target.read_text() == "Ada\tB-PER\n\n"


def test_conversion_names_the_first_problems_and_counts_the_rest(convert):
    """A file that is bad throughout does not flood the terminal."""
    with pytest.raises(ConfigurationError) as refused:
        convert(*[BANK] * 12)
    assert str(refused.value).count("line") == 10
    assert str(refused.value).endswith("and 2 more")


def test_conversion_keeps_overlap_where_the_format_can(convert):
    """A format that holds overlap gets nested, crossing and double entities alike."""
    outcome, target = convert(BANK, CROSSING, BOTH, to="doccano")
    assert outcome.entities == 6
    assert outcome.labels == {"ORG": 3, "LOC": 3}
    assert json.loads(target.read_text().splitlines()[0])["label"] == [[0, 12, "ORG"], [8, 12, "LOC"]]


def test_conversion_takes_outermost_entities_and_counts_the_others(convert):
    """Entities within others are left out on demand and counted; what only crosses stays bad."""
    outcome, target = convert(BANK, nested=Nested.OUTERMOST)
    assert (outcome.entities, outcome.nested) == (1, 1)
    assert target.read_text() == "Bank\tB-ORG\nof\tI-ORG\nOslo\tI-ORG\n\n"
    with pytest.raises(ConfigurationError, match="overlap"):
        convert(CROSSING, nested=Nested.OUTERMOST)


def test_conversion_refuses_overlap_on_demand(convert):
    """Also where the format could hold it."""
    with pytest.raises(ConfigurationError, match=r"overlap$"):
        convert(BANK, to="jsonl", nested=Nested.REFUSE)


def test_conversion_holds_labels_against_those_there_may_be(convert, tmp_path):
    """An entity under another label makes its document bad, and its own line is named."""
    with pytest.raises(
        ConfigurationError, match=r'line 2: label "ORG" of entity "Oslo" is not among --labels'
    ):
        convert(FLAT, BOTH, to="jsonl", labels=["PER", "LOC"])
    (tmp_path / "in.conll").write_text("Ada O\nBo B-PER\n")
    with pytest.raises(ConfigurationError, match=r"in\.conll, line 2: label"):
        Conversion(FORMATS["conll"], FORMATS["jsonl"], labels=["LOC"]).run(
            tmp_path / "in.conll", tmp_path / "out"
        )


def test_conversion_of_nothing_is_refused(convert):
    """An empty file, or one that is bad throughout, makes no empty corpus."""
    with pytest.raises(ConfigurationError, match="holds no document"):
        convert()
    with pytest.raises(ConfigurationError, match="holds no document"):
        convert(BANK, skip_bad=True)
