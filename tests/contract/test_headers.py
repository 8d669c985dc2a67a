"""Headers of events and dead letters."""

import re
from dataclasses import replace

import pytest

from stream.contract.headers import (
    dead_letter_headers,
    event_headers,
    has_decodable_names,
    read_dead_letter,
    size,
)
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
        ((("traceparent", b"01" + TRACE[2:]),), b"01" + TRACE[2:]),
        ((("traceparent", b"01" + TRACE[2:] + b"-future-field"),), b"01" + TRACE[2:] + b"-future-field"),
        ((("traceparent", b"01" + TRACE[2:] + b"future"),), None),
        ((("traceparent", TRACE + b"-field"),), None),
        ((("traceparent", b"ff" + TRACE[2:]),), None),
        ((("traceparent", None),), None),
        ((), None),
    ],
)
def test_headers_of_an_event_hold_exactly_one_traceparent(incoming, outgoing):
    """A trace that comes in goes on, of later versions too; strange ones or none become a valid one."""
    headers = event_headers(EVENT, replace(RECORD, headers=incoming))
    traces = [value for name, value in headers if name.lower() == "traceparent"]
    assert len(traces) == 1
    if outgoing is None:
        assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00", traces[0])
        assert traces[0] not in dict(incoming).values()
    else:
        assert traces == [outgoing]


def test_headers_of_a_repeated_event_are_the_same():
    """A repeat of an event has the same headers."""
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
    """A cut dead letter names the size of the original."""
    assert ("padellm.truncated", b"1") in dead_letter_headers(LETTER, RECORD, truncated=True)


def test_headers_names_that_are_not_utf8_are_found_and_spelt_out():
    """A name with other bytes is found, counted and kept in a form that Kafka takes."""
    strange = replace(RECORD, headers=(("\udcffé", b"1"),))
    assert not has_decodable_names(strange.headers)
    assert has_decodable_names(dead_letter_headers(LETTER, strange, truncated=False))
    assert dead_letter_headers(LETTER, strange, truncated=False)[0] == ("\\xffé", b"1")
    assert size(strange.headers) > len("\\xffé") + 1


def test_headers_of_a_dead_letter_are_read_back():
    """The headers of a dead letter give the dead letter again, whatever else is among them."""
    original = (("n", None), ("\udcff", b"\xff"), ("__dlq.errors.topic", b"earlier"))
    headers = dead_letter_headers(LETTER, replace(RECORD, headers=original), truncated=True)
    assert read_dead_letter(headers) == LETTER


@pytest.mark.parametrize(
    "spoilt", [{"padellm.stage": None}, {"padellm.stage": b"lunch"}, {"__dlq.errors.offset": b"\xff"}]
)
def test_headers_of_others_are_no_dead_letter(spoilt):
    """Without all headers of a dead letter, each with a value it can have, there is none."""
    headers = dict(dead_letter_headers(LETTER, RECORD, truncated=False)) | spoilt
    assert read_dead_letter(headers.items()) is None
    assert read_dead_letter(()) is None
