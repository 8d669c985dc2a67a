"""Traces of documents, exported by OpenTelemetry's own exporter to a receiver over HTTP."""

import json
import logging
import time
from dataclasses import replace

import pytest
import structlog

from stream import tracing
from stream.contract.record import Record
from stream.errors import ConfigurationError, InferenceRejected
from stream.settings import LogLevel
from stream.worker.logs import configure_logs
from tests.otlp_receiver import receiving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECORD = Record(
    "docs",
    1,
    7,
    value=b'{"id": "d", "text": "Ada"}',
    headers=(("traceparent", f"00-{TRACE}-{PARENT}-01".encode()), ("tracestate", b"vendor=1")),
)


@pytest.fixture
def receiver():
    """A receiver that spans of this process are exported to."""
    with receiving() as one:
        tracing.start(one.url, "1.2.3")
        try:
            yield one
        finally:
            tracing.stop()


def _out(message) -> list[str]:
    return [value.decode() for name, value in message.headers if name.lower() == "traceparent"]


async def test_tracing_continues_the_producers_trace(make_handler, publisher, receiver):
    """The record's span is the producer's child, its steps are its children, and the event carries it on."""
    await make_handler().handle(RECORD, time.monotonic())
    tracing.stop()
    spans = {span.name: span for span in receiver.spans}
    whole = spans["process docs"]
    assert set(spans) == {"process docs", "decode", "publish"}
    assert {span.trace for span in receiver.spans} == {TRACE}
    assert (whole.parent, whole.kind, whole.failed, whole.service) == (PARENT, 5, False, "padellm-worker")
    assert spans["decode"].parent == spans["publish"].parent == whole.span
    assert whole.begin <= spans["decode"].begin <= spans["publish"].end <= whole.end
    assert whole.attributes["messaging.destination.partition.id"] == "1"
    assert whole.attributes["messaging.kafka.offset"] == "7"
    (message,) = publisher.sent
    assert _out(message) == [f"00-{TRACE}-{whole.span}-01"]
    assert dict(message.headers)["tracestate"] == b"vendor=1"


async def test_tracing_begins_a_trace_where_there_is_none(make_handler, publisher, receiver):
    """A record without a trace, or with a broken one, gets one of its own."""
    for headers in ((), (("traceparent", b"nonsense"), ("Traceparent", b"00-0-0-0"))):
        publisher.sent.clear()
        await make_handler().handle(replace(RECORD, headers=headers), time.monotonic())
        (header,) = _out(publisher.sent[0])
        assert TRACE not in header
        assert int(header[-2:], 16) & 1  # sampled


@pytest.mark.parametrize("repeated", [1, 2])
async def test_tracing_marks_dead_letters_with_exactly_one_header(
    make_handler, publisher, receiver, repeated
):
    """A dead letter's span has the reason; one traceparent goes out in place of all that came in."""
    headers = (*RECORD.headers * repeated, ("TraceParent", b"nonsense"), ("mine", b"1"))
    bad = replace(RECORD, value=b"no JSON", headers=headers)
    await make_handler().handle(bad, time.monotonic())
    tracing.stop()
    whole = next(span for span in receiver.spans if span.name == "process docs")
    assert whole.failed
    assert whole.attributes["error.type"] == "not_json"
    (letter,) = publisher.sent
    assert _out(letter) == [f"00-{TRACE}-{whole.span}-01"]
    assert dict(letter.headers)["mine"] == b"1"


async def test_tracing_keeps_texts_and_messages_out(make_handler, publisher, receiver, model):
    """No span holds a text, an id of a document, or the words of an error."""
    model.script = [InferenceRejected("words of the server")] * 5
    for value in (b'{"id": "secret-id", "text": "Ada Secret"}', b'{"text": "Ada", "Secret": 1}'):
        await make_handler().handle(replace(RECORD, value=value), time.monotonic())
    tracing.stop()
    assert receiver.spans
    assert not any(word in repr(receiver.spans) for word in ("Secret", "secret-id", "words of"))


async def test_tracing_that_is_off_changes_no_header(make_handler, publisher):
    """Without an endpoint the producer's trace is handed on as it came, and no context goes to Triton."""
    await make_handler().handle(RECORD, time.monotonic())
    assert _out(publisher.sent[0]) == [f"00-{TRACE}-{PARENT}-01"]
    with tracing.document_span("x", {}, {}), tracing.step_span("y"):
        assert tracing.carrier() == {}


async def test_tracing_needs_its_extra(monkeypatch):
    """Without OpenTelemetry the setting is an error that names the extra."""
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"padellm-stream\[otel\]"):
        tracing.start("http://127.0.0.1:4318", "1")


async def test_tracing_collector_that_is_away_holds_nothing_up(make_handler, publisher):
    """Documents go on while nobody takes the spans."""
    tracing.start("http://127.0.0.1:9", "1")
    try:
        began = time.monotonic()
        await make_handler().handle(RECORD, began)
        assert time.monotonic() - began < 4  # an export is given up after 5 s
        assert len(publisher.sent) == 1
    finally:
        logging.getLogger("opentelemetry").setLevel("CRITICAL")
        tracing.stop()


@pytest.mark.parametrize("exported", [True, False])
async def test_tracing_joins_log_lines(make_handler, capsys, request, exported):
    """Lines about a document have its trace's id, exported or not."""
    if exported:
        request.getfixturevalue("receiver")
    configure_logs(LogLevel.DEBUG, for_good=False)
    await make_handler().handle(RECORD, time.monotonic())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["event"] == "event published"]
    assert (line["trace_id"], line["document_id"]) == (TRACE, "d")
    structlog.contextvars.clear_contextvars()
