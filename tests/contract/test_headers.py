"""Headers of events and dead letters."""

import re
from dataclasses import replace

import pytest

from stream.contract.headers import dead_letter_headers, event_headers
from stream.contract.messages import Coverage, DeadLetter, EntityEvent, ModelInfo, Source, Stage
from stream.contract.record import Record

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RECORD = Record("dócs", 2, 7, timestamp=1_700_000_000.5, key=b"k", value=b"v")
EVENT = EntityEvent(
    event_id="event-1",
    document_id="a/b ü",
    source=Source(topic="dócs", partition=2, offset=7),
    model=ModelInfo(name="m", version="1", template_hash="0" * 16),
    labels=[],
    entities=[],
    removed=[],
    coverage=Coverage(windows=1, characters=1),
    timings={},
)
LETTER = DeadLetter(
    topic="dócs", partition=2, offset=7, group="g", message="Größe", stage=Stage.DECODE, reason="not_json"
)


def test_headers_of_an_event_are_cloudevents_in_binary_mode():
    """The required attributes are there as UTF-8, the id is the event's, and the content type is JSON."""
    headers = dict(event_headers(EVENT, RECORD))
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"] == b"event-1"
    assert headers["ce_type"] == b"padellm.entities.v1"
    assert headers["ce_source"] == b"/kafka/d%C3%B3cs/2"
    assert headers["ce_subject"] == b"a%2Fb%20%C3%BC"
    assert headers["ce_time"] == b"2023-11-14T22:13:20.500+00:00"
    assert headers["content-type"] == b"application/json"


@pytest.mark.parametrize(
    ("incoming", "outgoing"),
    [
        ((("traceparent", TRACE),), TRACE),
        ((("Traceparent", TRACE),), TRACE),
        ((("traceparent", b"nonsense"), ("traceparent", TRACE), ("traceparent", TRACE[:-1] + b"0")), TRACE),
        ((("traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"),), None),
        ((("traceparent", None),), None),
        ((), None),
    ],
)
def test_headers_of_an_event_hold_exactly_one_traceparent(incoming, outgoing):
    """A trace that comes in goes on; several, strange or none become exactly one valid traceparent."""
    headers = event_headers(EVENT, replace(RECORD, headers=incoming))
    traces = [value for name, value in headers if name.lower() == "traceparent"]
    assert len(traces) == 1
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", traces[0])
    assert outgoing is None or traces == [outgoing]


def test_headers_of_a_repeated_event_are_the_same():
    """A repeat of an event cannot be told from it."""
    assert event_headers(EVENT, RECORD) == event_headers(EVENT, RECORD)


def test_headers_of_a_dead_letter_keep_the_original_ones():
    """The original headers stay, repeated and empty ones too; ours are beside them as UTF-8 strings."""
    original = (
        ("a", b"1"),
        ("a", b"\xff"),
        ("n", None),
        ("__dlq.errors.topic", b"earlier"),
        ("padellm.truncated", b"9"),
    )
    headers = dead_letter_headers(LETTER, replace(RECORD, headers=original), truncated=False)
    assert headers[:3] == original[:3]
    assert dict(headers[3:]) == {
        "__dlq.errors.topic": "dócs".encode(),
        "__dlq.errors.partition": b"2",
        "__dlq.errors.offset": b"7",
        "__dlq.errors.group": b"g",
        "__dlq.errors.message": "Größe".encode(),
        "padellm.stage": b"decode",
        "padellm.reason": b"not_json",
    }


def test_headers_of_a_cut_dead_letter_say_how_much_there_was():
    """Where the original did not fit, its size is told."""
    assert ("padellm.truncated", b"1") in dead_letter_headers(LETTER, RECORD, truncated=True)
