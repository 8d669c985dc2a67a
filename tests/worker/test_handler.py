"""A record to its outcome."""

import json
import time

import pytest

from stream.contract.headers import read_dead_letter
from stream.contract.messages import Policy
from stream.contract.reasons import Reason, Stage
from stream.contract.record import Record
from stream.errors import InferenceError, InferenceRejected, InferenceTimeout, InferenceUnavailable
from stream.ner.calibration import Calibration, Temperature
from stream.settings import Inference

GOOD = Record(
    "docs", 1, 7, timestamp=1.0, key=b"key", value=b'{"id": "d", "text": "Ada"}', headers=(("h", b"1"),)
)


def _sample(metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def _reason(publisher) -> str:
    (letter,) = publisher.sent
    return dict(letter.headers)["padellm.reason"].decode()


async def _event(handler, publisher, value: bytes = GOOD.value, offset: int = 7) -> dict:
    publisher.sent.clear()
    await handler.handle(Record("docs", 1, offset, value=value), time.monotonic())
    return json.loads(publisher.sent[0].value)


async def test_handler_turns_a_document_into_one_event(make_handler, publisher):
    """The event names document, source, model, entities and timings, and is keyed by the document's id."""
    await make_handler(entities_topic="out").handle(GOOD, time.monotonic())
    (message,) = publisher.sent
    event = json.loads(message.value)
    assert (message.topic, message.key) == ("out", b"d")
    assert event["document_id"] == "d"
    assert event["source"] == {"topic": "docs", "partition": 1, "offset": 7}
    assert event["model"]["name"] == "tiny"
    assert [entity["text"] for entity in event["entities"]] == ["A", "A"]
    assert set(event["timings"]) == {"queue", "count", "mention", "total"}
    assert dict(message.headers)["ce_id"].decode() == event["event_id"]


async def test_handler_adds_a_row_an_entity_where_asked(make_handler, publisher):
    """The rows follow the event in its topic's place, each with an id of its own and the document's key."""
    await make_handler(entities_topic="out", entity_rows_topic="rows").handle(GOOD, time.monotonic())
    event, *rows = publisher.sent
    assert [(message.topic, message.key) for message in rows] == [("rows", b"d")] * 2
    ids = [json.loads(message.value)["entity_id"] for message in rows]
    assert ids == [f"{json.loads(event.value)['event_id']}/{number}" for number in (1, 2)]
    assert [dict(message.headers)["ce_id"].decode() for message in rows] == ids


async def test_handler_spells_the_metadata_of_rows_as_the_document_does(make_handler, publisher):
    """A number of metadata keeps its digits in a row too."""
    value = b'{"id": "d", "text": "Ada", "metadata": {"n":0.10000000000000000001}}'
    await make_handler(entity_rows_topic="rows").handle(Record("docs", 1, 7, value=value), time.monotonic())
    assert publisher.sent[1].value.endswith(b'"metadata":{"n":0.10000000000000000001}}')


async def test_handler_event_id_is_that_of_the_question(make_handler, publisher):
    """A repeat has the same id; another position, content, label or option gives another one."""
    handler = make_handler()
    first = (await _event(handler, publisher))["event_id"]
    assert (await _event(handler, publisher))["event_id"] == first
    assert (await _event(make_handler(), publisher))["event_id"] == first
    others = [
        await _event(handler, publisher, offset=8),
        await _event(handler, publisher, b'{"id": "d", "text": "Eva"}'),
        await _event(handler, publisher, b'{"id": "e", "text": "Ada"}'),
        await _event(handler, publisher, b'{"id": "d", "text": "Ada", "labels": ["place"]}'),
        await _event(handler, publisher, b'{"id": "d", "text": "Ada", "labels": {"person": "a human"}}'),
        await _event(make_handler({"policy": Policy.FLAT}), publisher),
        await _event(make_handler(threshold=0.5), publisher),
    ]
    assert len({first, *(event["event_id"] for event in others)}) == 8


async def test_handler_event_id_is_the_same_over_releases(make_handler, publisher):
    """Readers that have an event drop its repeat by a newer release, too."""
    asked = [
        await _event(make_handler(), publisher),
        await _event(make_handler(), publisher, b'{"text": "Ada", "policy": "flat", "threshold": 0.25}'),
        await _event(make_handler(offsets="utf-16"), publisher),
    ]
    assert [event["event_id"] for event in asked] == [
        "df86458f-12d7-5843-a749-01c0f42a01e8",
        "453a0f76-b0d9-5041-823f-17c380ba3cdc",
        "db831d9d-5468-510c-ae69-61cdac76568d",
    ]


async def test_handler_event_id_follows_the_record_made_anew(make_handler, publisher):
    """Documents without an id of their own, at one position and with one key, have ids by their content."""
    ids = [
        (await _event(make_handler(), publisher, value))["event_id"]
        for value in (b'{"text": "Ada"}', b'{"text": "Eva"}')
    ]
    assert len(set(ids)) == 2


async def test_handler_event_id_follows_the_engine(make_handler, publisher):
    """Settings of the engine in this process decide the answer, and so the id."""
    options = ({}, {"int8": True}, {"constrained": True})
    ids = [
        (await _event(make_handler(inference=Inference.IN_PROCESS, **each), publisher))["event_id"]
        for each in options
    ]
    assert len(set(ids)) == len(options)


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        ("calibration", [Calibration(default=Temperature(temperature=each)) for each in (1.5, 2.0)]),
        ("policy", [Policy.FLAT, Policy.NESTED]),
    ],
)
async def test_handler_event_id_follows_the_checkpoint(make_handler, publisher, attribute, values):
    """Another calibration or policy of the checkpoint has ids of its own, the same each time."""
    handlers = [make_handler(), *(make_handler({attribute: each}) for each in (*values, values[0]))]
    plain, first, second, again = [(await _event(handler, publisher))["event_id"] for handler in handlers]
    assert len({plain, first, second}) == 3
    assert again == first


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InferenceTimeout("slow"), (Reason.INFERENCE_TIMEOUT, Stage.DEADLINE, 3)),
        (InferenceRejected("no"), (Reason.INFERENCE_REJECTED, Stage.MENTION, 2)),
        (InferenceError("a forward pass failed"), (Reason.INFERENCE_REJECTED, Stage.MENTION, 3)),
    ],
)
@pytest.mark.usefixtures("no_pauses")
async def test_handler_names_the_reason_of_the_model(make_handler, model, publisher, error, expected):
    """A document that the model fails again and again is a dead letter with reason, stage and tries."""
    error.stage = "mention"
    model.script = [error] * 3
    await make_handler().handle(GOOD, time.monotonic())
    letter = read_dead_letter(publisher.sent[0].headers)
    assert (letter.reason, letter.stage, letter.attempts) == expected


async def test_handler_waits_for_an_unavailable_model(make_handler, model, publisher, no_pauses, metrics):
    """However often the model is unavailable, the document becomes an event."""
    model.script = [InferenceUnavailable("away")] * 50
    await make_handler(entities_topic="out").handle(GOOD, time.monotonic())
    assert [message.topic for message in publisher.sent] == ["out"]
    assert _sample(metrics, "padellm_retries_total", of="model") == 50
    assert _sample(metrics, "padellm_part_up", part="model") == 1


async def test_handler_survives_any_error(make_handler, model, publisher):
    """An error nobody expected becomes a dead letter that names it."""
    model.script = [ZeroDivisionError("boom")]
    await make_handler().handle(GOOD, time.monotonic())
    assert _reason(publisher) == Reason.INTERNAL_ERROR
    headers = dict(publisher.sent[0].headers)
    assert b"ZeroDivisionError: boom" in headers["__dlq.errors.message"]
    assert headers["padellm.stage"] == b"inference"


async def test_handler_error_beside_the_model_has_its_stage(make_handler, publisher, monkeypatch):
    """An unexpected error in making the event is one of publishing, not of the model."""
    monkeypatch.setattr("stream.worker.handler.encode_event", lambda *_: 1 / 0)
    await make_handler().handle(GOOD, time.monotonic())
    assert _reason(publisher) == Reason.INTERNAL_ERROR
    assert dict(publisher.sent[0].headers)["padellm.stage"] == b"publish"


async def test_handler_event_too_large_is_a_dead_letter(make_handler, publisher):
    """An event that its topic does not take becomes a dead letter of the document."""
    publisher.limits["out"] = 100
    await make_handler(entities_topic="out").handle(GOOD, time.monotonic())
    assert _reason(publisher) == Reason.EVENT_TOO_LARGE
    assert publisher.sent[0].value == GOOD.value


async def test_handler_never_adds_a_dead_letter_to_an_event(make_handler, publisher, metrics, monkeypatch):
    """An error after the event was published is raised, and makes no dead letter of the same document."""
    monkeypatch.setattr(metrics, "event", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await make_handler(entities_topic="out").handle(GOOD, time.monotonic())
    assert [message.topic for message in publisher.sent] == ["out"]


async def test_handler_header_name_that_is_not_utf8_is_a_dead_letter(make_handler, publisher):
    """Such a record becomes a dead letter with the name spelt out, since Kafka wants names in UTF-8."""
    record = Record("docs", 1, 7, value=GOOD.value, headers=(("\udcff\udcfename", b"1"),))
    await make_handler().handle(record, time.monotonic())
    assert _reason(publisher) == Reason.NOT_UTF8
    assert publisher.sent[0].headers[0] == ("\\xff\\xfename", b"1")


@pytest.mark.parametrize("timestamp", [1.7e12, -1e12, float("inf"), 1e300, None])
async def test_handler_timestamp_that_is_no_date_is_no_fault(make_handler, publisher, timestamp):
    """A document whose record has a timestamp beyond all dates, or none, becomes an event without a time."""
    await make_handler(entities_topic="out").handle(
        Record("docs", 1, 7, timestamp=timestamp, value=GOOD.value), time.monotonic()
    )
    assert publisher.sent[0].topic == "out"
    assert "ce_time" not in dict(publisher.sent[0].headers)


async def test_handler_counts_outcomes(make_handler, publisher, metrics):
    """WorkerMetrics count events, dead letters by reason, and entities by label; unknown labels are one."""
    handler = make_handler()
    await handler.handle(GOOD, time.monotonic())
    await handler.handle(Record("docs", 1, 8, value=b"{"), time.monotonic())
    assert _sample(metrics, "padellm_documents_total", outcome="event") == 1
    assert _sample(metrics, "padellm_documents_total", outcome="dead_letter") == 1
    assert _sample(metrics, "padellm_dead_letters_total", stage="decode", reason="not_json") == 1
    assert _sample(metrics, "padellm_entities_total", label="other") == 2
    assert _sample(metrics, "padellm_stage_seconds_count", stage="total") == 2


FIELDS = {"record_format": "json", "text_pointers": "/title,/body", "id_pointer": "/id"}
TWO_FIELDS = json.dumps({"id": 5, "title": "Ada", "body": "🚀 Eva", "more": 1}).encode()


async def test_handler_reads_each_field_by_itself(make_handler, publisher, model):
    """Every field is a text of its own; its entities name it, and so does its coverage."""
    event = await _event(make_handler(**FIELDS), publisher, TWO_FIELDS)
    assert model.asked == 2
    assert event["document_id"] == "5"
    found = [(each["text"], each["field"], each["start"], each["end"]) for each in event["entities"]]
    assert found == [("A", "/title", 0, 1)] * 2 + [("🚀", "/body", 0, 1)] * 2
    assert event["coverage"]["characters"] == 8
    assert {name: each["characters"] for name, each in event["fields"].items()} == {"/title": 3, "/body": 5}
    assert set(event["timings"]) == {"queue", "count", "mention", "total"}


async def test_handler_event_of_one_text_is_that_of_earlier_versions(make_handler, publisher):
    """Without fields or another unit an event has no member that older readers do not know."""
    event = await _event(make_handler(), publisher)
    assert set(event) == {
        *("event_id", "document_id", "source", "model", "labels", "entities", "removed", "coverage"),
        *("timings", "metadata"),
    }
    assert all(
        set(each) == {"text", "label", "start", "end", "score", "count_score"} for each in event["entities"]
    )


async def test_handler_event_id_follows_fields_and_unit(make_handler, publisher):
    """Other fields of the same record, and another unit of offsets, are other questions; a repeat is not."""
    options = [
        FIELDS,
        FIELDS | {"text_pointers": "/title"},
        FIELDS | {"text_pointers": "/body"},
        FIELDS | {"offsets": "utf-16"},
        FIELDS | {"offsets": "utf-8"},
        FIELDS,
    ]
    ids = [(await _event(make_handler(**each), publisher, TWO_FIELDS))["event_id"] for each in options]
    assert ids[0] == ids[-1]
    assert len(set(ids)) == len(options) - 1


@pytest.mark.parametrize(("unit", "end"), [("utf-16", 2), ("utf-8", 4)])
async def test_handler_counts_in_the_unit_asked_for(make_handler, publisher, unit, end):
    """Offsets are in the document's unit, or else in the setting's, and the event names it."""
    asked = await _event(make_handler(), publisher, json.dumps({"text": "🚀🚀", "offsets": unit}).encode())
    configured = await _event(make_handler(offsets=unit), publisher, '{"text": "🚀🚀"}'.encode())
    overruled = json.dumps({"text": "🚀🚀", "offsets": "code-points"}).encode()
    plain = await _event(make_handler(offsets=unit), publisher, overruled)
    for event in (asked, configured):
        assert (event["entities"][0]["end"], event["coverage"]["characters"]) == (end, 2 * end)
        assert event["offsets"] == unit
    assert plain["entities"][0]["end"] == 1
    assert "offsets" not in plain


async def test_handler_passes_over_a_deleted_row(make_handler, publisher, metrics):
    """A record that holds no document has no outcome: it is counted, and its offset may be committed."""
    handler = make_handler(record_format="debezium", text_pointers="/after/title")
    await handler.handle(Record("docs", 1, 7, value=b'{"op": "d", "after": null}'), time.monotonic())
    await handler.handle(Record("docs", 1, 8, value=None), time.monotonic())
    assert publisher.sent == []
    assert [record.offset for record in publisher.passed_over] == [7, 8]
    assert _sample(metrics, "padellm_documents_total", outcome="no_document") == 2
