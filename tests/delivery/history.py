"""History of a delivery run: typed records in order of time, kept as JSON Lines."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


def now() -> float:
    """Seconds since the epoch, in whole milliseconds, as the broker's times are; no clock is stepped here."""
    return int(time.clock_gettime(time.CLOCK_REALTIME) * 1000) / 1000


def content(value: bytes | None) -> str:
    """The part of a document that its event repeats, the first word; a digest where there is no document."""
    try:
        return str(json.loads(value or b"")["text"].split()[0])
    except (ValueError, TypeError, LookupError, AttributeError):
        return hashlib.sha256(value or b"").hexdigest()


def transaction_name(producer_id: int, epoch: int, offset: int) -> str:
    """Name of a transaction: an epoch may see several, each commits another offset."""
    return f"{producer_id}/{epoch}/{offset}"


class Position(NamedTuple):
    """Place of a message in Kafka."""

    topic: str
    partition: int
    offset: int


class Entry(BaseModel):
    """Base of all records: the process that saw something, and the time in seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    process: str
    time: float


class Send(Entry):
    """Start of sending a message: a document, or the outcome of the document at ``source``."""

    type: Literal["send"] = "send"
    message: str
    source: Position | None = None
    transaction: str | None = None


class Ack(Entry):
    """A message's acknowledgement by the broker."""

    type: Literal["ack"] = "ack"
    message: str
    position: Position
    content: str
    characters: int = 0
    source: Position | None = None
    transaction: str | None = None


class Poll(Entry):
    """A document that a worker fetched."""

    type: Literal["poll"] = "poll"
    position: Position
    content: str


class HandlerStart(Entry):
    """Start of a worker's work on a document."""

    type: Literal["handler_start"] = "handler_start"
    position: Position


class HandlerEnd(Entry):
    """End of a worker's work on a document: Kafka has its outcome, as the worker believes, or it gave up."""

    type: Literal["handler_end"] = "handler_end"
    position: Position
    given_up: bool = False


class Commit(Entry):
    """An offset that the group coordinator stored; one of a transaction counts only if that was committed."""

    type: Literal["commit"] = "commit"
    topic: str
    partition: int
    offset: int
    transaction: str | None = None


class Assignment(Entry):
    """Partitions that the group gave to a worker."""

    type: Literal["assignment"] = "assignment"
    generation: int
    partitions: tuple[tuple[str, int], ...]


class TransactionEnd(Entry):
    """End of a transaction; its time is that of the request, ``committed`` is None without an answer."""

    type: Literal["transaction_end"] = "transaction_end"
    transaction: str
    committed: bool | None


class ReaderPoll(Entry):
    """A message that a read-committed reader got.

    Attributes:
        position: Place of the message.
        content: Digest of the message.
        kind: ``document``, or the two outcomes.
        message: Event id, empty for the other kinds.
        key: Record key.
        source: Position of the document that an outcome answers.
        echo: Document's content, as far as its outcome repeats it.
        entities: Label, start, end and score of each entity.
        read: Spans of characters that windows covered.
        unread: Spans of characters that the event names as unread.
    """

    type: Literal["reader_poll"] = "reader_poll"
    position: Position
    content: str
    kind: Literal["document", "event", "dead_letter"]
    message: str = ""
    key: str = ""
    source: Position | None = None
    echo: str = ""
    entities: tuple[tuple[str, int, int, float], ...] = ()
    read: tuple[tuple[int, int], ...] = ()
    unread: tuple[tuple[int, int], ...] = ()


class LogEnd(Entry):
    """End of a partition, and its last stable offset, before which no transaction is open."""

    type: Literal["log_end"] = "log_end"
    topic: str
    partition: int
    stable: int
    end: int


class Report(Entry):
    """Answer of a worker's metrics and health pages, asked for at ``asked``."""

    type: Literal["report"] = "report"
    asked: float
    documents: int
    ready: bool


Record = Annotated[
    Send
    | Ack
    | Poll
    | HandlerStart
    | HandlerEnd
    | Commit
    | Assignment
    | TransactionEnd
    | ReaderPoll
    | LogEnd
    | Report,
    Field(discriminator="type"),
]
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)
_Kind = TypeVar("_Kind", bound=Entry)


class History:
    """Records of all processes in order of time; equal times keep the order given."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = tuple(sorted(records, key=lambda record: record.time))

    @classmethod
    def read(cls, *files: Path) -> "History":
        """Merge the journals of several processes.

        Raises:
            ValueError: A line holds no record.
        """
        return cls(_RECORD.validate_json(line) for file in files for line in file.read_bytes().splitlines())

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def of(self, *kinds: type[_Kind]) -> Iterator[_Kind]:
        """Yield the records of some kinds."""
        return (record for record in self._records if isinstance(record, kinds))


class Journal:
    """File of records that only grows; each is written whole at once, so that it outlives a kill -9."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, record: Record) -> None:
        """Write a record."""
        os.write(self._descriptor, record.model_dump_json().encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
