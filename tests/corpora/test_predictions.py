"""Predictions of another system."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.corpora.predictions import PredictedDocument, PredictedMention, read_predictions
from stream.errors import ConfigurationError
from tests.corpora.test_formats import WILD


def test_predictions_of_json_lines(tmp_path):
    """Score and offsets may be missing; the text or the id may be; entity events are understood."""
    file = tmp_path / "predictions.jsonl"
    rows = [
        {
            "id": 7,
            "text": "Ada in Oslo",
            "entities": [
                {"text": "Ada", "label": "PER", "score": 0.5, "start": 0, "end": 3},
                {"text": "Rome", "label": "LOC"},
            ],
        },
        {"text": "Bo", "predictions": []},
        {"document_id": "n", "entities": [{"text": "Bo", "label": "PER", "score": 1, "start": 4, "end": 6}]},
    ]
    file.write_bytes(gzip.compress("\n\n".join(map(json.dumps, rows)).encode()))
    assert read_predictions(file) == [
        PredictedDocument(
            "7",
            "Ada in Oslo",
            (PredictedMention("PER", "Ada", 0.5, 0, 3), PredictedMention("LOC", "Rome", 1.0, None, None)),
        ),
        PredictedDocument("", "Bo", ()),
        PredictedDocument("n", "", (PredictedMention("PER", "Bo", 1.0, 4, 6),)),
    ]


@pytest.mark.parametrize("indent", [None, 4])
def test_predictions_of_the_authors(tmp_path, indent):
    """Their result files hold mentions with probabilities by label, and more that is not read."""
    file = tmp_path / "conll03_run1.json"
    row = {
        "id": 0,
        "texts": "Ada in Oslo",
        "pred": {"LOC": [["Oslo", 0.9], ["Ada", 1e-3]], "PER": [["Ada", 1]], "ORG": []},
        "gt": {"PER": ["Ada"]},
        "latency": 0.2,
        "score": {"p": 1, "r": 1, "f": 1},
    }
    file.write_text(json.dumps([row], indent=indent))
    mentions = (
        PredictedMention("LOC", "Oslo", 0.9),
        PredictedMention("LOC", "Ada", 0.001),
        PredictedMention("PER", "Ada"),
    )
    assert read_predictions(file) == [PredictedDocument("0", "Ada in Oslo", mentions)]


ENTITY = {"text": "Ada", "label": "PER"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (7, "7 is no object"),
        ({"entities": []}, "neither an id nor a text"),
        ({"id": 1.5, "entities": []}, "id 1.5 is no string"),
        ({"text": "Ada"}, 'neither a list of "entities"'),
        ({"text": "Ada", "entities": [7]}, "7 is no entity"),
        ({"text": "Ada", "entities": [{"text": "Ada"}]}, "must be strings"),
        ({"text": "Ada", "entities": [ENTITY | {"label": ""}]}, "no label and mention"),
        ({"text": "Ada", "entities": [ENTITY | {"score": "high"}]}, '"high" is no score'),
        ({"text": "Ada", "entities": [ENTITY | {"score": True}]}, "true is no score"),
        ({"text": "Ada", "entities": [ENTITY | {"score": float("nan")}]}, "NaN is no score"),
        ({"text": "Ada", "entities": [ENTITY | {"score": 10**400}]}, "is no score"),
        ({"text": "Ada", "entities": [ENTITY | {"start": 0}]}, "only one of start and end"),
        ({"text": "Ada", "entities": [ENTITY | {"start": 0, "end": 2}]}, 'where the text has "Ad"'),
        ({"id": "1", "entities": [ENTITY | {"start": 0, "end": "2"}]}, "offsets are whole numbers"),
        ({"text": "Ada", "pred": {"PER": "Ada"}}, '"Ada" is no list'),
        ({"text": "Ada", "pred": {"PER": [["Ada", 1, 2]]}}, '["Ada", 1, 2] is no [mention, score] of "PER"'),
    ],
)
def test_predictions_name_file_line_and_reason(tmp_path, row, words):
    """A row that is no prediction is refused with where it stands and what is wrong."""
    file = tmp_path / "predictions.jsonl"
    file.write_text(f'{{"text": "a", "entities": []}}\n{json.dumps(row)}\n')
    with pytest.raises(ConfigurationError) as refused:
        read_predictions(file)
    assert str(refused.value).startswith(f"{file}, line 2: ")
    assert words in str(refused.value)


def test_predictions_of_an_empty_file_are_refused(tmp_path):
    """A file without predictions is more likely a mistake than a result."""
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigurationError, match="empty holds no predictions"):
        read_predictions(tmp_path / "empty")


ROW = st.fixed_dictionaries(
    {"text": st.sampled_from(["Ada", 7, ""])},
    optional={
        "id": st.none() | st.integers(),
        "entities": st.lists(
            st.dictionaries(
                st.sampled_from(["text", "label", "score", "start", "end"]),
                st.sampled_from(["Ada", "", None, True, 0, 3, 0.5, "\ud800"]),
            ),
            max_size=2,
        ),
        "pred": st.dictionaries(
            st.text(max_size=1), st.lists(st.tuples(st.text(max_size=2), st.floats())) | st.none()
        ),
    },
)


@given(content=WILD | ROW.map(json.dumps).map(str.encode))
def test_predictions_refuse_wild_bytes_by_name(tmp_path_factory, content):
    """Whatever a file holds, it is read or refused with an error that names it."""
    file = tmp_path_factory.getbasetemp() / "wild-predictions"
    file.write_bytes(content)
    try:
        refusal = str(read_predictions(file) and file)
    except ConfigurationError as error:
        refusal = str(error)
    assert str(file) in refusal


def event(event_id, *names, **fields):
    """A line of the entities topic, with an entity for each name."""
    entities = [{"text": name, "label": "PER", "start": 0, "end": len(name), "score": 0.9} for name in names]
    return {"event_id": event_id, "document_id": "1", "entities": entities} | fields


SOURCE = {"source": {"topic": "documents", "partition": 0, "offset": 1}}


def written(tmp_path, *rows):
    """A file of JSON Lines."""
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.mark.parametrize("fields", [{}, SOURCE])
def test_predictions_events_of_a_document_are_one_answer(tmp_path, fields):
    """Events of one document make one prediction in the place of the first, and a repeat counts once."""
    later = event("x", "Ada") | {"entities": [event("x", "Ada")["entities"][0] | {"score": 0.9001}]}
    rows = [
        event("x", "Ada", **fields),
        event("y", "Eva", document_id="2", **fields),
        event("x/1", "Bo", **fields),
        later | fields,
        event("x/1", "Bo", **fields),
    ]
    first, second = read_predictions(written(tmp_path, *rows))
    assert [mention.text for mention in first.mentions] == ["Ada", "Bo"]
    assert (first.id, second.id) == ("1", "2")


def test_predictions_two_equal_answers_to_a_document_are_one(tmp_path):
    """A document that was sent twice has two answers, which may agree."""
    rows = [event("x", "Ada", "Bo", **SOURCE), event("y", "Ada", **SOURCE), event("y/1", "Bo", **SOURCE)]
    (predicted,) = read_predictions(written(tmp_path, *rows))
    assert [mention.text for mention in predicted.mentions] == ["Ada", "Bo"]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (event("x", "Bo"), 'line 2: event "x" has other entities than at'),
        (
            event("y", "Bo", **SOURCE),
            'document "1" has 2 answers that differ (events "x", "y"): keep the events',
        ),
    ],
)
def test_predictions_refuse_events_that_contradict_each_other(tmp_path, second, words):
    """Two contents of one event, and two answers to one document, are refused with both named."""
    with pytest.raises(ConfigurationError) as refused:
        read_predictions(written(tmp_path, event("x", "Ada", **SOURCE), second))
    assert words in str(refused.value)
