"""Dead letters in their topic."""

from datetime import timedelta

import pytest

from stream.contract.failures import Failure, HeaderFamily
from stream.contract.record import Record
from stream.kafka.letters import LetterSelection, ReasonCount, StoredLetter, count_letters, stored_letter
from tests.kafka.letters import NOON, letter

MINUTE = timedelta(minutes=1)
LETTERS = [
    letter(0),
    letter(1, NOON + MINUTE, stage="deadline", reason="inference_timeout"),
    letter(2, None, stage="deadline", reason="inference_timeout"),
    letter(3, NOON + 90 * MINUTE, partition=None),
]


@pytest.mark.parametrize(
    ("conditions", "taken"),
    [
        ({}, [0, 1, 2, 3]),
        ({"reasons": {"not_json"}}, [0, 3]),
        ({"reasons": {"not_json", "inference_timeout"}, "stages": {"deadline"}}, [1, 2]),
        ({"document_ids": {"id-1", "id-3"}}, [1, 3]),
        ({"sources": {(0, 2), (0, 3)}}, [2]),
        ({"since": NOON + MINUTE}, [1, 3]),
        ({"until": NOON + MINUTE}, [0]),
        ({"since": NOON, "until": NOON + 90 * MINUTE, "reasons": {"inference_timeout"}}, [1]),
    ],
)
def test_letters_selection_needs_all_conditions(conditions, taken):
    """Each condition leaves out what does not meet it; a time of none is in no range."""
    selection = LetterSelection(**conditions)
    assert [index for index, each in enumerate(LETTERS) if selection.takes(each)] == taken


HEADERS = (
    ("__dlq.errors.topic", b"docs"),
    ("__dlq.errors.partition", b"0"),
    ("__dlq.errors.offset", b"7"),
)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (b"key", b'{"id": "own", "text": "x"}', "own"),
        (b"key", b'{"id": "own", "text": "cut of', "own"),
        (b"key", b'{"id": "", "text": "x"}', "key"),
        (b"key", b'{"id": 7}', "key"),
        (b"key", b'["own"]', "key"),
        (b"key", b"\xff", "key"),
        (b"key", None, "key"),
        (b"\xff", b"[" * 100_000, "docs/0/7"),
        (b"k" * 513, b"{}", "docs/0/7"),
        (None, b"{}", "docs/0/7"),
    ],
)
def test_letters_name_the_id_of_the_document(key, value, expected):
    """The id is the document's own, else its key, else its position, as for the worker."""
    record = Record("dead", 3, 5, timestamp=NOON.timestamp(), key=key, value=value, headers=HEADERS)
    assert stored_letter(record) == StoredLetter(
        (3, 5),
        NOON,
        expected,
        None if value is None else len(value),
        Failure(HeaderFamily.KAFKA, "docs", 0, 7),
    )


def test_letters_records_of_others_are_none():
    """A record without the headers of a dead letter is none."""
    assert stored_letter(Record("dead", 0, 0, value=b"x", headers=(("h", b"1"),))) is None


def test_letters_are_counted_by_reason_and_hour():
    """Counts name stage, reason, first and last time; hours are in order, and lack what has no time."""
    counts = count_letters([*reversed(LETTERS), letter(4, NOON + 2 * MINUTE)])
    assert counts.by_reason == [
        ReasonCount("decode", "not_json", 3, NOON, NOON + 90 * MINUTE),
        ReasonCount("deadline", "inference_timeout", 2, NOON + MINUTE, NOON + MINUTE),
    ]
    assert list(counts.by_hour.items()) == [(NOON, 3), (NOON + 60 * MINUTE, 1)]
    assert counts.as_dict()["by_hour"] == {
        "2026-11-29T12:00:00.000+00:00": 3,
        "2026-11-29T13:00:00.000+00:00": 1,
    }
