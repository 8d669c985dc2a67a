"""A record to its outcome."""

import json
import time

import pytest

from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.errors import InferenceRejected, InferenceTimeout, InferenceUnavailable
from stream.ner.calibration import Calibration, Temperature
from stream.settings import EventsPer

GOOD = Record(
    "docs", 1, 7, timestamp=1.0, key=b"key", value=b'{"id": "d", "text": "Ada"}', headers=(("h", b"1"),)
)


def _sample(telemetry, name: str, **labels: str) -> float:
    return telemetry.registry.get_sample_value(name, labels) or 0.0


def _reason(outbox) -> str:
    (letter,) = outbox.sent
    return dict(letter.headers)["padellm.reason"].decode()


async def _event(handler, outbox, value: bytes = GOOD.value, offset: int = 7) -> dict:
    outbox.sent.clear()
    await handler.handle(Record("docs", 1, offset, value=value), time.monotonic())
    return json.loads(outbox.sent[0].value)


async def test_handler_turns_a_document_into_one_event(make_handler, outbox):
    """The event names document, source, model, entities and timings, and is keyed by the document's id."""
    await make_handler(entities_topic="out").handle(GOOD, time.monotonic())
    (message,) = outbox.sent
    event = json.loads(message.value)
    assert (message.topic, message.key) == ("out", b"d")
    assert event["document_id"] == "d"
    assert event["source"] == {"topic": "docs", "partition": 1, "offset": 7}
    assert event["model"]["name"] == "tiny"
    assert [entity["text"] for entity in event["entities"]] == ["A", "A"]
    assert set(event["timings"]) == {"queue", "count", "mention", "total"}
    assert dict(message.headers)["ce_id"].decode() == event["event_id"]


async def test_handler_event_id_is_that_of_the_question(make_handler, outbox):
    """The same position and question give the same id; another position, label or option another."""
    handler = make_handler()
    first = (await _event(handler, outbox))["event_id"]
    assert (await _event(handler, outbox))["event_id"] == first
    assert (await _event(handler, outbox, b'{"text": "Ada", "labels": ["person"]}'))["event_id"] == first
    assert (await _event(handler, outbox, b'{"text": "Ada", "policy": "paper", "threshold": 0}'))[
        "event_id"
    ] == first
    others = [
        await _event(handler, outbox, offset=8),
        await _event(handler, outbox, b'{"text": "Ada", "labels": ["place"]}'),
        await _event(handler, outbox, b'{"text": "Ada", "labels": {"person": "a human"}}'),
        await _event(handler, outbox, b'{"text": "Ada", "policy": "flat"}'),
        await _event(handler, outbox, b'{"text": "Ada", "threshold": 0.5}'),
    ]
    assert len({first, *(event["event_id"] for event in others)}) == 6


async def test_handler_event_id_follows_the_calibration(make_handler, outbox):
    """Calibrated scores are another answer and have another id, the same one every time."""
    calibrations = [Calibration(default=Temperature(temperature=each)) for each in (1.5, 2.0)]
    handlers = [
        make_handler(),
        *(make_handler(calibration=each) for each in (*calibrations, calibrations[0])),
    ]
    plain, first, second, again = [(await _event(handler, outbox))["event_id"] for handler in handlers]
    assert len({plain, first, second}) == 3
    assert again == first


async def test_handler_waits_for_a_model_that_is_away(make_handler, model, outbox, no_pauses, telemetry):
    """However often the model is away, the document becomes an event; that time does not count."""
    model.script = [InferenceUnavailable("away")] * 50
    await make_handler(document_deadline=0.001, entities_topic="out").handle(GOOD, time.monotonic())
    assert [message.topic for message in outbox.sent] == ["out"]
    assert _sample(telemetry, "padellm_retries_total", of="model") == 50
    assert _sample(telemetry, "padellm_part_up", part="model") == 1


async def test_handler_gives_up_after_a_few_timeouts(make_handler, model, outbox, no_pauses):
    """Two calls that time out are tried again; the third makes a dead letter."""
    model.script = [InferenceTimeout("slow")] * 2
    await make_handler(entities_topic="out").handle(GOOD, time.monotonic())
    assert outbox.sent.pop().topic == "out"
    model.script = [InferenceTimeout("slow")] * 3
    await make_handler().handle(GOOD, time.monotonic())
    assert _reason(outbox) == Reason.INFERENCE_TIMEOUT


async def test_handler_keeps_the_deadline(make_handler, model, outbox, no_pauses):
    """A document that takes longer than the deadline is a dead letter, unless the model has gone."""
    model.script = [0.2]
    await make_handler(document_deadline=0.05).handle(GOOD, time.monotonic())
    assert _reason(outbox) == Reason.INFERENCE_TIMEOUT
    outbox.sent.clear()
    model.script, model.is_ready = [0.2] * 5, False
    await make_handler(document_deadline=0.05, entities_topic="out").handle(GOOD, time.monotonic())
    assert outbox.sent[0].topic == "out"


async def test_handler_believes_a_refusal_the_second_time(make_handler, model, outbox, no_pauses):
    """One refusal is tried again, two make a dead letter; a model that is not ready refuses nothing."""
    handler = make_handler(entities_topic="out")
    model.script = [InferenceRejected("no")]
    await handler.handle(GOOD, time.monotonic())
    assert outbox.sent.pop().topic == "out"
    model.script = [InferenceRejected("no")] * 2
    await handler.handle(GOOD, time.monotonic())
    assert _reason(outbox) == Reason.INFERENCE_REJECTED
    outbox.sent.clear()
    model.script, model.is_ready = [InferenceRejected("no")] * 9, False
    await handler.handle(GOOD, time.monotonic())
    assert outbox.sent.pop().topic == "out"


async def test_handler_survives_any_error(make_handler, model, outbox):
    """An error nobody expected becomes a dead letter that names it."""
    model.script = [ZeroDivisionError("boom")]
    await make_handler().handle(GOOD, time.monotonic())
    assert _reason(outbox) == Reason.INTERNAL_ERROR
    assert b"ZeroDivisionError: boom" in dict(outbox.sent[0].headers)["__dlq.errors.message"]


async def test_handler_dead_letter_holds_the_original(make_handler, outbox):
    """Key, bytes and headers are those of the record."""
    await make_handler(dead_letters_topic="dead").handle(
        Record("docs", 1, 7, key=b"\xff", value=b"\xfe", headers=(("h", None),)), time.monotonic()
    )
    (letter,) = outbox.sent
    assert (letter.topic, letter.key, letter.value, letter.headers[0]) == (
        "dead",
        b"\xff",
        b"\xfe",
        ("h", None),
    )


async def test_handler_dead_letter_of_nothing_can_be_sent(make_handler, outbox):
    """A tombstone without a key, which Kafka would not take as a message, has an empty value."""
    await make_handler().handle(Record("docs", 1, 7), time.monotonic())
    assert (_reason(outbox), outbox.sent[0].value) == (Reason.TOMBSTONE, b"")


@pytest.mark.parametrize(
    ("limit", "kept"), [(9_000_000, 5_000_000), (1_000_000, 524_288), (100_000, 0), (5_000, 0)]
)
async def test_handler_cuts_a_dead_letter_that_no_topic_takes(make_handler, outbox, limit, kept):
    """Where the original does not fit, as much of it as fits is kept, and its size is told."""
    outbox.limits["dead"] = limit
    value = b"\xff" * 5_000_000
    record = Record("docs", 1, 7, value=value, headers=(("h", b"x" * 10_000),))
    await make_handler(dead_letters_topic="dead").handle(record, time.monotonic())
    (letter,) = outbox.sent
    assert len(letter.value) == kept
    assert dict(letter.headers).get("padellm.truncated") == (None if kept == len(value) else b"5000000")


async def test_handler_event_too_large_is_a_dead_letter(make_handler, outbox):
    """An event that its topic does not take becomes a dead letter of the document."""
    outbox.limits["out"] = 100
    await make_handler(entities_topic="out").handle(GOOD, time.monotonic())
    assert _reason(outbox) == Reason.EVENT_TOO_LARGE
    assert outbox.sent[0].value == GOOD.value


async def test_handler_can_publish_an_event_for_each_entity(make_handler, outbox):
    """Each entity is an event of its own with an id of its own; together they hold what one event would."""
    await make_handler(events_per=EventsPer.ENTITY).handle(GOOD, time.monotonic())
    events = [json.loads(message.value) for message in outbox.sent]
    assert [[entity["label"] for entity in event["entities"]] for event in events] == [
        ["person"],
        ["made up"],
    ]
    assert len({event["event_id"] for event in events}) == 2


async def test_handler_counts_outcomes(make_handler, outbox, telemetry):
    """Metrics tell events, dead letters by reason, and entities; labels from outside are one."""
    handler = make_handler()
    await handler.handle(GOOD, time.monotonic())
    await handler.handle(Record("docs", 1, 8, value=b"{"), time.monotonic())
    assert _sample(telemetry, "padellm_documents_total", outcome="event") == 1
    assert _sample(telemetry, "padellm_documents_total", outcome="dead_letter") == 1
    assert _sample(telemetry, "padellm_dead_letters_total", stage="decode", reason="not_json") == 1
    assert _sample(telemetry, "padellm_entities_total", label="other") == 2
    assert _sample(telemetry, "padellm_stage_seconds_count", stage="total") == 2
