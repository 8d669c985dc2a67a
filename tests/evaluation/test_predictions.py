"""Predictions of other systems."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument
from stream.corpora.predictions import PredictedDocument, PredictedMention, read_predictions
from stream.errors import ConfigurationError
from stream.evaluation.policies import NONE, ablate
from stream.evaluation.predictions import match
from stream.evaluation.runner import score
from stream.evaluation.scores import Score
from tests.evaluation.test_runner import annotated

LABELS = ["PER", "LOC", "ORG"]
DOCUMENTS = [
    annotated("Ann in Rome", PER=["Ann"], LOC=["Rome"]).model_copy(update={"id": "a"}),
    annotated("Rome", LOC=["Rome"]).model_copy(update={"id": "b"}),
    annotated("Rome").model_copy(update={"id": "c"}),
]


def write(tmp_path, *lines):
    """A file of JSON Lines."""
    file = tmp_path / "predictions.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def answers(file, documents=DOCUMENTS):
    """A file's predictions, matched."""
    return match(file, read_predictions(file), documents)


def test_predictions_go_to_their_document_by_id_or_text(tmp_path):
    """By id in any order; by text in the order of the documents that have it; the others have none."""
    entity = {"label": "LOC", "text": "Rome", "score": 0.5}
    by_id = answers(write(tmp_path, {"id": "c", "entities": [entity]}, {"id": "a", "entities": []}))
    assert [(len(each.entities), each.named) for each in by_id] == [(0, True), (0, False), (1, True)]
    by_text = answers(write(tmp_path, *[{"text": "Rome", "entities": [entity] * n} for n in (1, 2)]))
    assert [len(each.entities) for each in by_text] == [0, 1, 2]


def test_predictions_without_offsets_are_found_in_the_text(tmp_path):
    """A mention lies where the text has it, and behind the end if the text has it nowhere."""
    text = "Ann, Ann Lee"
    file = write(
        tmp_path,
        {"text": text, "entities": [{"label": "PER", "text": each} for each in ("Ann", "Ann Lee", "Bo")]},
    )
    (found,) = answers(file, [annotated(text)])
    assert [(e.start, e.end, e.score) for e in found.entities] == [(0, 3, 1), (5, 12, 1), (12, 14, 1)]


@pytest.mark.parametrize(
    ("text", "mentions", "starts"),
    [
        ("Merkels Rede", ["Merkel"], [0]),
        ("Annual Ann", ["Ann"], [7]),
        ("Annual Ann", ["Ann", "Ann"], [7, 0]),
        ("Bo, Ed, Bo", ["Ed", "Bo"], [4, 8]),
        ("Bo, Ed, Bo", ["Ed", "Bo", "Bo", "Bo"], [4, 8, 0, 0]),
        ("Bo, Ed, Bo, Ed", ["Bo", "Ed", "Bo", "Ed"], [0, 4, 8, 12]),
        ("ROME", ["Rome"], [4]),
        ("New\u00a0York", ["New York"], [8]),
        ("张三说张三，", ["张三", "张三"], [0, 3]),
    ],
)
def test_predictions_are_placed_letter_by_letter(text, mentions, starts):
    """Mentions go to free occurrences, whole words first, after the one before; nothing is repaired."""
    found = PredictedDocument("", text, tuple(PredictedMention("PER", mention) for mention in mentions))
    (placed,) = match("file", [found], [annotated(text)])
    assert [entity.start for entity in placed.entities] == starts
    assert [entity.text for entity in placed.entities] == mentions


def test_predictions_with_offsets_keep_them(tmp_path):
    """A file that knows the place is believed, also where another would be found first."""
    entity = {"label": "LOC", "text": "Rome", "start": 5, "end": 9, "score": 0.25}
    (found,) = answers(write(tmp_path, {"text": "Rome Rome", "entities": [entity]}), [annotated("Rome Rome")])
    assert [(e.start, e.end, e.score) for e in found.entities] == [(5, 9, 0.25)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"id": "z", "entities": []}, r'prediction 1: no document.* is "?z'),
        ({"id": "a", "text": "Bo in Rome", "entities": []}, 'its text is "Bo in Rome"'),
        ({"entities": []}, "line 1: there is neither an id nor a text"),
        ({"id": "a", "entities": [{"label": "PER"}]}, "line 1: .*its text and its label must be strings"),
        (
            {"id": "a", "entities": [{"label": "PER", "text": "Ann", "start": 1, "end": 4}]},
            'at 1-4, .* "nn "',
        ),
        ({"id": "a", "entities": [{"label": "PER", "text": "Ann", "score": 7}]}, "score 7"),
        ([{"texts": "Rome", "pred": {"LOC": [["Rome", "much"]]}}], "line 1: .*is no .mention, score. of"),
    ],
)
def test_predictions_that_cannot_be_are_named(tmp_path, line, says):
    """A fault is reported with the file, the place in it and the reason."""
    with pytest.raises(ConfigurationError, match=rf"predictions\.jsonl.*{says}"):
        answers(write(tmp_path, line))


def test_predictions_for_one_document_come_once(tmp_path):
    """A second prediction for a document has none left."""
    for row in ({"id": "a", "entities": []}, {"id": "a", "text": "Ann in Rome", "entities": []}):
        with pytest.raises(ConfigurationError, match=r"prediction 2: .* it has a prediction already"):
            answers(write(tmp_path, row, row))


def test_predictions_need_a_file_that_holds_some(tmp_path):
    """A missing file and an empty one are refused."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_predictions(tmp_path / "none")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigurationError, match="holds no predictions"):
        read_predictions(tmp_path / "empty")


def test_predictions_of_the_authors_files(tmp_path):
    """Their result files, one array with mentions by label, and fields that are not needed."""
    file = tmp_path / "results.json"
    pred = {"PER": [["Ann", 0.9]], "LOC": [["Ann", 0.95], ["Rome", 0.8]]}
    row = {"id": 0, "texts": "Ann in Rome", "pred": pred, "gt": {"PER": ["Ann"]}, "latency": 0.2}
    file.write_text(json.dumps([row], indent=4))
    figures = ablate(answers(file), LABELS)
    assert figures[NONE].score == Score(tp=2, fp=1, fn=1)
    assert figures[Policy.PAPER].score == Score(tp=1, fp=1, fn=2)


mentions = st.lists(
    st.tuples(st.sampled_from(LABELS), st.text("ab ", min_size=1, max_size=3), st.integers(0, 100)),
    max_size=8,
    unique_by=lambda mention: mention[2],
)


@given(st.text("ab ", min_size=1, max_size=10), mentions, st.data())
def test_predictions_score_as_the_paper_defines_it(text, predicted, data):
    """With and without the paper's de-duplication, the score is that of its definition."""
    spans = [(start, end) for start in range(len(text)) for end in range(start + 1, len(text) + 1)]
    marked = data.draw(st.lists(st.tuples(st.sampled_from(spans), st.sampled_from(LABELS)), max_size=4))
    gold = [{"start": s, "end": e, "text": text[s:e], "label": label} for (s, e), label in marked]
    document = AnnotatedDocument(text=text, entities=gold)
    found = [PredictedMention(label, mention, number / 100) for label, mention, number in predicted]
    matched = match("file", [PredictedDocument("", text, tuple(found))], [document])
    figures = ablate(matched, LABELS)
    assert figures[NONE].score == _defined(predicted, document)
    assert figures[Policy.PAPER].score == _defined(_without_duplicates(predicted), document)
    assert score(matched, LABELS).score == figures[Policy.PAPER].score


def _defined(predicted, document):
    """Sets of mentions per label, compared; counts added up over labels."""
    total = Score()
    for label in LABELS:
        ours = {mention for name, mention, _ in predicted if name == label}
        theirs = {entity.text for entity in document.entities if entity.label == label}
        total += Score(len(ours & theirs), len(ours - theirs), len(theirs - ours))
    return total


def _without_duplicates(predicted):
    """A mention under several labels stays under that of its highest probability."""
    ascending = sorted(predicted, key=lambda each: each[2])
    best = {mention: label for label, mention, _ in ascending}
    return [each for each in predicted if best[each[1]] == each[0]]
