"""Records of five kinds of programs, through a real Kafka and the worker over the scripted model.

``python -m tests.integration.record_shapes --records 2000`` runs all of them and prints a line for each.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.contract.messages import EntityEvent
from stream.kafka.reader import read_letter
from stream.offsets import OffsetUnit
from stream.settings import Settings
from tests.integration import worker_fixture
from tests.integration.kafka_fixture import serve
from tests.integration.worker_fixture import Bench, bench_at
from tests.tiny_model import write_tiny_checkpoint

Headers = tuple[tuple[str, bytes], ...]
_ENCODINGS = {
    OffsetUnit.CODE_POINTS: ("utf-32-le", 4),
    OffsetUnit.UTF_16: ("utf-16-le", 2),
    OffsetUnit.UTF_8: ("utf-8", 1),
}
_MARKS = ("", "🚀 ", "e\u0301 ", "中文 ")


@dataclass(frozen=True)
class Made:
    """A record to send, and the texts that are in it by their pointers; None where it holds no document."""

    key: bytes | None
    value: bytes | None
    texts: dict[str | None, str] | None
    headers: Headers = ()


@dataclass(frozen=True)
class Shape:
    """Records of one kind, and the settings that read them."""

    settings: dict[str, Any]
    make: Callable[[int], Made]


def text(number: int) -> str:
    """A text whose first word, a person to the scripted model, is unlike those of other records."""
    return f"Ada{number} met {_MARKS[number % 4]}Charles."


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=len(str(value)) % 2 == 0).encode()


def _ticket(number: int) -> Made:
    subject, body = text(number), text(number + 1)
    value = {"ticket": number, "subject": subject, "messages": [{"body": body}], "priority": number % 3}
    return Made(None, _json(value), {"/subject": subject, "/messages/0/body": body})


def _article(number: int) -> Made:
    html = f'Eva{number} <b>{text(number)}</b> &amp; <a href="/{number}">more</a>'
    teaser = (None, "", text(number))[number % 3]
    value = {"slug": f"article-{number}", "html": html, "teaser": teaser, "tags": [1e3, None, {"a": []}]}
    return Made(None, _json(value), {"/html": html} | ({"/teaser": teaser} if teaser else {}))


def _row(number: int) -> Made:
    key = _json({"id": number})
    row = {"id": number, "title": text(number), "body": text(number + 7)}
    change: dict[str, Any] = {"before": None, "after": row, "op": "cur"[number % 3], "source": {"db": "crm"}}
    texts: dict[str | None, str] | None = {"/after/title": row["title"], "/after/body": row["body"]}
    if number % 5 == 3:
        change, texts = change | {"op": "d", "before": row, "after": None}, None
    if number % 5 == 4:
        return Made(key, None, None)  # the tombstone behind the deletion
    wrapped = {"schema": {"type": "struct"}, "payload": change} if number % 2 else change
    return Made(key, _json(wrapped), texts)


def _cloudevent(number: int) -> Made:
    attributes = {"specversion": "1.0", "id": f"e-{number}", "type": "review", "source": "/shop"}
    review = text(number)
    texts: dict[str | None, str] = {"/data/review": review}
    if number % 2:
        return Made(None, _json(attributes | {"data": {"review": review}}), texts)
    headers = tuple((f"ce_{name}", value.encode()) for name, value in attributes.items())
    return Made(None, _json({"review": review}), texts, (*headers, ("content-type", b"application/json")))


def _line(number: int) -> Made:
    line = f"{text(number)} 2026-01-01T00:00:00Z INFO"
    return Made(f"host-{number % 9}".encode(), line.encode(), {None: line})


SHAPES = {
    "ticket": Shape(
        {
            "record_format": "json",
            "text_pointers": "/subject,/messages/0/body",
            "id_pointer": "/ticket",
            "metadata_pointers": "/priority",
        },
        _ticket,
    ),
    "article": Shape(
        {
            "record_format": "json",
            "text_pointers": "/html",
            "optional_text_pointers": "/teaser",
            "id_pointer": "/slug",
            "offsets": "utf-8",
        },
        _article,
    ),
    "row": Shape(
        {
            "record_format": "debezium",
            "text_pointers": "/after/title,/after/body",
            "id_pointer": "/after/id",
            "carry_all_fields": True,
        },
        _row,
    ),
    "cloudevent": Shape(
        {
            "record_format": "cloudevents",
            "text_pointers": "/data/review",
            "id_pointer": "/id",
            "offsets": "utf-16",
        },
        _cloudevent,
    ),
    "log": Shape({"record_format": "text"}, _line),
}


async def run(bench: Bench, shape: Shape, records: int, **settings: Any) -> int:
    """Send records of a shape, start a worker, and check every outcome; returns how many are documents."""
    made = {(number % 4, number // 4): shape.make(number) for number in range(records)}
    async with bench.producer() as producer:
        for (partition, _), one in made.items():
            await producer.send(
                bench.settings.documents_topic,
                one.value,
                key=one.key,
                partition=partition,
                headers=list(one.headers),
            )
        await producer.flush()
    ends = {partition: end for partition, end in (await bench.ends()).items() if end}
    read = Settings(**shape.settings)
    worker = bench.start_worker(**{name: getattr(read, name) for name in shape.settings}, **settings)
    await worker.is_ready()
    await bench.until_committed(ends)  # also those of records without a document
    expected = {place: one for place, one in made.items() if one.texts is not None}
    outcomes = await bench.outcomes(lambda seen: len(seen) >= len(expected), isolation_level="read_committed")
    found = dict(_checked(outcomes, expected, bench))
    assert found.keys() == expected.keys(), "outcomes are missing, or are of records without a document"
    return len(found)


def _checked(
    outcomes: list[Any], expected: dict[tuple[int, int], Made], bench: Bench
) -> Iterator[tuple[tuple[int, int], EntityEvent]]:
    for record in outcomes:
        assert record.topic == bench.settings.entities_topic, read_letter(record).message
        event = EntityEvent.model_validate_json(record.value)
        place = event.source.partition, event.source.offset
        texts = expected[place].texts or {}
        encoding, width = _ENCODINGS[event.offsets or OffsetUnit.CODE_POINTS]
        for entity in event.entities:
            encoded = texts[entity.field].encode(encoding)
            assert encoded[entity.start * width : entity.end * width].decode(encoding) == entity.text
        assert sorted(entity.text for entity in event.entities) == sorted(
            each.split()[0] for each in texts.values()
        )
        yield place, event


@contextmanager
def _broker() -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        running = serve(folder / "kafka")
        try:
            yield next(running).bootstrap, folder
        finally:
            next(running, None)


async def _main(records: int, shapes: list[str]) -> None:
    worker_fixture._PATIENCE = 600.0  # thousands of records, on a machine that does other things too
    with _broker() as (bootstrap, folder):
        model = write_tiny_checkpoint(folder / "model")
        for name in shapes:
            shape = SHAPES[name]
            home = folder / uuid.uuid4().hex
            home.mkdir()
            async for bench in bench_at(bootstrap, model, home):
                began = time.monotonic()
                documents = await run(bench, shape, records)
                seconds = time.monotonic() - began
                sys.stdout.write(
                    f"{name}: {records} records, {documents} events, {records - documents} hold no document, "
                    f"0 lost, every offset right, {seconds:.1f} s with the worker's start\n"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    given = parser.parse_args()
    asyncio.run(_main(given.records, given.shapes))
