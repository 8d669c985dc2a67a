"""Kinds of mistakes, and the worst documents."""

from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument, GoldEntity
from stream.corpora.predictions import PredictedDocument, PredictedMention
from stream.evaluation.mistakes import MatchKind, kinds, mark, surest, worst
from stream.evaluation.predictions import match
from tests.bounds import bounded
from tests.evaluation.test_runner import annotated

LABELS = ["PER", "LOC"]
TEXT = "Ann Lee, Bo Ek, Rome, Ems and Oslo"


def marked(text, predicted, **gold):
    """One document, marked."""
    document = annotated(text, **gold)
    found = tuple(PredictedMention(label, mention, score) for label, mention, score in predicted)
    answers = match("file", [PredictedDocument("", text, found)], [document])
    (result,) = mark(answers, LABELS, Policy.MULTI)
    return result


PREDICTED = [
    ("PER", "Ann", 0.9),
    ("PER", "Rome", 0.8),
    ("LOC", "Ems", 0.7),
    ("LOC", "Bo", 0.6),
    ("PER", "and", 0.5),
    ("PER", "Zed", 0.4),
]
GOLD = {"PER": ["Ann Lee", "Bo Ek"], "LOC": ["Rome", "Ems", "Oslo"]}


def test_mistakes_have_kinds():
    """Each side's entities by what the other side has at their place, worked by hand."""
    result = marked(TEXT, PREDICTED, **GOLD)
    assert [(each.text, each.kind) for each in result.predicted] == [
        ("Ann", MatchKind.BOUNDARY),
        ("Bo", MatchKind.BOTH),
        ("Rome", MatchKind.LABEL),
        ("Ems", MatchKind.RIGHT),
        ("and", MatchKind.INVENTED),
        ("Zed", MatchKind.INVENTED),
    ]
    assert [(each.text, each.kind) for each in result.gold] == [
        ("Ann Lee", MatchKind.BOUNDARY),
        ("Bo Ek", MatchKind.BOTH),
        ("Rome", MatchKind.LABEL),
        ("Ems", MatchKind.RIGHT),
        ("Oslo", MatchKind.MISSED),
    ]
    assert kinds([result]) == {
        MatchKind.BOUNDARY: 1,
        MatchKind.BOTH: 1,
        MatchKind.LABEL: 1,
        MatchKind.RIGHT: 1,
        MatchKind.INVENTED: 2,
        MatchKind.MISSED: 1,
    }


def test_mistakes_worst_and_surest_come_first():
    """The worst have the most that is wrong, the surest the highest score; what is right is not shown."""
    many = marked(TEXT, PREDICTED, **GOLD)
    sure = marked("Ann", [("LOC", "Ann", 0.99)], PER=["Ann"])
    right = marked("Ann", [("PER", "Ann", 1.0)], PER=["Ann"])
    assert worst([right, sure, many], 5) == [many, sure]
    assert surest([right, many, sure], 5) == [sure, many]
    assert worst([sure, many], 1) == [many]


def test_mistakes_of_a_book_cost_what_they_should():
    """Ten thousand mistakes are marked within a second and 100 MB: each is one look-up."""
    text = " ".join(f"w{number}" for number in range(10_000))
    words = [(f"w{number}", found) for number, found in enumerate(_offsets(text))]
    gold = [GoldEntity(start=start, end=end, text=word, label="LOC") for word, (start, end) in words]
    document = AnnotatedDocument(id="book", text=text, entities=gold)
    predicted = tuple(PredictedMention("PER", word, 0.5, start, end) for word, (start, end) in words)
    (answer,) = match("file", [PredictedDocument("book", text, predicted)], [document])
    with bounded(seconds=1, megabytes=100):
        (result,) = mark([answer], LABELS, Policy.MULTI)
    assert {each.kind for each in result.predicted} == {MatchKind.LABEL}


def _offsets(text):
    position = 0
    for word in text.split(" "):
        yield position, position + len(word)
        position += len(word) + 1
