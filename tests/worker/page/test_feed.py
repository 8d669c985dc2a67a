"""Samples of the stream, their bounds, and the search among them."""

import cProfile
import json
import pstats

import pytest

from stream.contract.messages import (
    Coverage,
    DeadLetter,
    Entity,
    EntityEvent,
    ModelInfo,
    Source,
)
from stream.contract.record import Record
from stream.offsets import OffsetUnit
from stream.worker.outcome import Finished
from stream.worker.page import feed as feed_module
from stream.worker.page.feed import Allowance, Buffer, FeedSample, SampleFeed
from stream.worker.page.samples import as_json

EMOJI = "😀 Zoë met 李雷 👩‍🚀 in Köln"


def _event(name: str = "doc", text: str = "Ada met Bo", *entities: Entity, **more) -> Finished:
    event = EntityEvent(
        event_id="1",
        document_id=name,
        source=Source(topic="docs", partition=0, offset=7),
        model=ModelInfo(name="tiny", version="1", template_hash="0" * 16),
        labels=["person"],
        entities=list(entities),
        removed=[],
        coverage=Coverage(windows=1, characters=len(text)),
        timings={},
        **more,
    )
    record = Record("docs", 0, 7, timestamp=1.0, key=name.encode(), value=text.encode())
    return Finished(record, event, 0.012, {None: text})


def _letter(name: str = "bad", message: str = "no JSON", value: bytes = b"{") -> Finished:
    letter = DeadLetter(
        topic="docs", partition=0, offset=8, group="g", message=message, stage="decode", reason="not_json"
    )
    return Finished(Record("docs", 0, 8, timestamp=1.0, key=name.encode(), value=value), letter, 0.001)


def _entity(text: str, name: str, label: str = "person") -> Entity:
    start = text.index(name)
    return Entity(text=name, label=label, start=start, end=start + len(name), score=0.9, count_score=0.9)


def _in_utf16(text: str, start: int, end: int) -> str:
    return text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le")


@pytest.mark.parametrize("unit", [None, OffsetUnit.UTF_16, OffsetUnit.UTF_8])
def test_sample_offsets_are_those_of_javascript(unit):
    """A sample's offsets select the entity in UTF-16 units, whatever unit the event has, emoji before it."""
    encoding = {None: "utf-32-le", OffsetUnit.UTF_16: "utf-16-le", OffsetUnit.UTF_8: "utf-8"}[unit]
    width = {None: 4, OffsetUnit.UTF_16: 2, OffsetUnit.UTF_8: 1}[unit]
    entities = [
        entity.model_copy(
            update={
                "start": len(EMOJI[: entity.start].encode(encoding)) // width,
                "end": len(EMOJI[: entity.end].encode(encoding)) // width,
            }
        )
        for entity in (_entity(EMOJI, name) for name in ("Zoë", "李雷", "👩‍🚀", "Köln"))
    ]
    (shown,) = json.loads(as_json(1, _event("doc", EMOJI, *entities, offsets=unit)))["texts"]
    found = [_in_utf16(shown["text"], start, end) for start, end, *_ in shown["entities"]]
    assert found == ["Zoë", "李雷", "👩‍🚀", "Köln"]


def test_sample_of_a_document_of_fields_has_each_with_its_own_entities():
    """An entity shows in the field that it names, and in no other."""
    finished = _event("doc", "", _entity("Bo in Rome", "Bo").model_copy(update={"field": "/b"}))
    fields = Finished(finished.record, finished.outcome, 0.0, {"/a": "Bo is not here", "/b": "Bo in Rome"})
    first, second = json.loads(as_json(1, fields))["texts"]
    assert (first["field"], first["entities"]) == ("/a", [])
    assert (second["field"], second["entities"]) == ("/b", [[0, 2, "person", 0.9]])


@pytest.mark.parametrize(
    "finished",
    [
        _event("i" * 512, "😀" * 1_000_000, *[_entity("x", "x", "😀" * 256)] * 5_000),
        _letter("k" * 512, "😀" * 2_000, b"\xff" * 1_000_000),
    ],
    ids=["event", "dead letter"],
)
def test_sample_is_bounded_and_one_line_of_ascii(finished):
    """The largest sample is below 200 kB, and on one line, so that it cannot end a server-sent event."""
    line = as_json(1, finished)
    assert len(line) < 200_000
    assert line.isascii()
    assert b"\n" not in line


def test_buffer_bounds_samples_and_bytes():
    """The oldest samples go when there are too many, and when they are too large together."""
    buffer = Buffer(most=3, most_bytes=100)
    for number in range(1, 6):
        buffer.add(FeedSample(number, "doc", b"x" * 10))
    assert [sample.number for sample in buffer.newest_first()] == [5, 4, 3]
    buffer.add(FeedSample(6, "doc", b"x" * 85))
    assert [sample.number for sample in buffer.newest_first()] == [6, 5]
    assert buffer.bytes == 95


def test_feed_drops_samples_under_load_and_counts_all(monkeypatch):
    """Beyond the allowance a record is counted and not sampled; later ones are again."""
    now = 1000.0
    monkeypatch.setattr(feed_module.time, "monotonic", lambda: now)
    feed = SampleFeed(Allowance(20), Allowance(5))
    for _ in range(10_000):
        feed.watch(_event())
    assert (feed.finished, feed.sampled) == (10_000, 20)
    now += 0.5
    for _ in range(100):
        feed.watch(_event())
    assert (feed.finished, feed.sampled) == (10_100, 30)


def test_feed_keeps_dead_letters_beside_a_flood_of_events():
    """Events have an allowance and a buffer of their own: they push no dead letter out."""
    feed = SampleFeed(Allowance(10_000), Allowance(5))
    feed.watch(_letter("bad"))
    for _ in range(2_000):
        feed.watch(_event())
    assert [sample.document_id for sample in feed.search("bad", most=5)] == ["bad"]
    assert feed.kept == 501


def test_feed_gives_each_sample_once_and_in_order():
    """A page that asks for what is new after its last sample gets no sample twice and none too many."""
    feed = SampleFeed(Allowance(100), Allowance(100))
    for number in range(6):
        feed.watch(_letter() if number % 2 else _event())
    first = feed.since(0, most=4)
    assert [sample.number for sample in first] == [3, 4, 5, 6]
    assert feed.since(6, most=4) == []
    feed.watch(_event())
    assert [sample.number for sample in feed.since(6, most=4)] == [7]


def test_feed_starts_again_for_a_page_of_an_earlier_process():
    """A number that this process has not reached shows all that is kept."""
    feed = SampleFeed()
    feed.watch(_event())
    assert [sample.number for sample in feed.since(999, most=10)] == [1]


def test_feed_search_finds_the_same_id_first():
    """The document with exactly this id comes before those that hold it in theirs."""
    feed = SampleFeed()
    for name in ("note-1", "note-12", "other", "NOTE-123"):
        feed.watch(_event(name))
    found = [sample.document_id for sample in feed.search("note-1", most=10)]
    assert found == ["note-1", "NOTE-123", "note-12"]


def test_feed_samples_what_is_expected_beyond_the_allowance():
    """The record that a visitor sends is shown, whatever passes by with it."""
    feed = SampleFeed(Allowance(1), Allowance(1))
    feed.watch(_event())
    feed.expect(b"Ada wrote this")
    feed.watch(_event())
    feed.watch(_event("mine", "Ada wrote this"))
    assert [sample.document_id for sample in feed.search("mine", most=1)] == ["mine"]


def test_feed_never_raises():
    """A fault in taking a sample is no fault of the record, whose outcome is in Kafka."""
    feed = SampleFeed()
    broken = _event()
    feed.watch(Finished(broken.record, broken.outcome, 0.0, texts=None))  # type: ignore[arg-type] # as a fault would pass
    assert feed.finished == 1


@pytest.mark.parametrize(
    ("allowance", "most_calls"), [(0.001, 15), (1e9, 130)], ids=["passed over", "sampled"]
)
def test_feed_cost_of_a_record_is_bounded_in_calls(allowance, most_calls):
    """A record that is passed over costs next to nothing, and a sampled one a fraction of its handling."""
    text = "Ada met Bo in Rome. " * 20
    finished = _event("doc", text, _entity(text, "Ada"), _entity(text, "Rome"))
    feed = SampleFeed(Allowance(allowance), Allowance(allowance))
    with cProfile.Profile() as profile:
        for _ in range(100):
            feed.watch(finished)
    assert pstats.Stats(profile).total_calls / 100 < most_calls


def test_feed_pace_is_of_the_last_seconds(monkeypatch):
    """Rate and latency forget what is older than the span."""
    now = 1000.0
    monkeypatch.setattr(feed_module.time, "monotonic", lambda: now)
    feed = SampleFeed()
    for seconds in (9.0, 9.0):
        feed.watch(Finished(_event().record, None, seconds))
    now += 20
    for milliseconds in range(1, 101):
        feed.watch(Finished(_event().record, None, milliseconds / 1000))
    pace = feed.pace(seconds=10)
    assert pace.per_second == 10
    assert pace.milliseconds == {"p50": 50, "p99": 99}
    now += 20
    assert feed.pace(seconds=10).milliseconds == {}
