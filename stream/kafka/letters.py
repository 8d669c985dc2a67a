"""Dead letters in their topic: reading, choosing, counting."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from stream.contract.failures import Failure, read_failure
from stream.contract.headers import moment
from stream.contract.record import Record
from stream.contract.rules import key_as_id
from stream.kafka.producer import Position
from stream.kafka.reader import as_record, read_topic
from stream.settings import Settings


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter in its topic, without its bytes.

    Attributes:
        at: Its own partition and offset, in the dead-letter topic.
        time: Time of its record; None where that is no date.
        document_id: Id of the document.
        size: Bytes of its value; None where it has none.
        failure: Read from its headers.
    """

    at: Position
    time: datetime | None
    document_id: str
    size: int | None
    failure: Failure

    @property
    def source(self) -> Position | None:
        """Partition and offset of the document; None where the headers lack one of them."""
        partition, offset = self.failure.partition, self.failure.offset
        return None if partition is None or offset is None else (partition, offset)


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """Conditions on dead letters, all of which must hold; an empty one always does.

    Attributes:
        reasons: One of these reasons.
        stages: One of these stages.
        document_ids: About one of these documents.
        sources: About the document at one of these partitions and offsets.
        since: At this time or later.
        until: Before this time.
    """

    reasons: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    document_ids: frozenset[str] = frozenset()
    sources: frozenset[Position] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, letter: StoredLetter) -> bool:
        """Return whether a dead letter meets the conditions."""
        time = letter.time
        return (
            (not self.reasons or letter.failure.reason in self.reasons)
            and (not self.stages or letter.failure.stage in self.stages)
            and (not self.document_ids or letter.document_id in self.document_ids)
            and (not self.sources or letter.source in self.sources)
            and (self.since is None or (time is not None and time >= self.since))
            and (self.until is None or (time is not None and time < self.until))
        )


def stored_letter(record: Record) -> StoredLetter | None:
    """The dead letter in a record; None where its headers are of no family."""
    failure = read_failure(record.headers)
    if failure is None:
        return None
    return StoredLetter(
        at=(record.partition, record.offset),
        time=moment(record.timestamp),
        document_id=own_id(record.value) or key_as_id(record.key) or failure.position,
        size=None if record.value is None else len(record.value),
        failure=failure,
    )


def own_id(value: bytes | None) -> str:
    """The id that a document names, also in a value that was cut behind it; else nothing."""
    try:
        document = from_json(value or b"", allow_partial=True)
    except ValueError:
        return ""
    found = document.get("id") if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""


async def read_letters(settings: Settings) -> AsyncGenerator[tuple[Record, StoredLetter | None]]:
    """Records that are in the dead-letter topic now, each as a dead letter where it is one.

    Raises:
        DeliveryError: The broker does not answer, or has no such topic.
    """
    topic = settings.dead_letters_topic
    async with aclosing(read_topic(topic, settings=settings, from_beginning=True, follow=False)) as consumed:
        async for each in consumed:
            record = as_record(each)
            yield record, stored_letter(record)


async def select_letters(settings: Settings, selection: LetterSelection) -> tuple[list[StoredLetter], int]:
    """Dead letters that are in their topic now and meet the conditions, and how many other records there are.

    Raises:
        DeliveryError: The broker does not answer, or has no such topic.
    """
    selected, others = [], 0
    async with aclosing(read_letters(settings)) as letters:
        async for _, letter in letters:
            if letter is None:
                others += 1
            elif selection.takes(letter):
                selected.append(letter)
    return selected, others


@dataclass(slots=True)
class ReasonCount:
    """Dead letters of one stage and reason.

    Attributes:
        letters: How many there are.
        first: Time of the earliest; None where none has a time.
        last: Time of the latest.
    """

    stage: str
    reason: str
    letters: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, time: datetime | None) -> None:
        """Count one more."""
        self.letters += 1
        if time is not None:
            self.first = time if self.first is None else min(self.first, time)
            self.last = time if self.last is None else max(self.last, time)


@dataclass(frozen=True, slots=True)
class LetterCounts:
    """Dead letters by stage and reason, the most frequent first, and by hour (UTC), in order."""

    by_reason: list[ReasonCount]
    by_hour: dict[datetime, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "by_reason": [
                asdict(each) | {"first": _iso(each.first), "last": _iso(each.last)} for each in self.by_reason
            ],
            "by_hour": {_iso(hour): number for hour, number in self.by_hour.items()},
        }


def count_letters(letters: Iterable[StoredLetter]) -> LetterCounts:
    """Count dead letters; one without a time is in no hour."""
    reasons: dict[tuple[str, str], ReasonCount] = {}
    hours: dict[datetime, int] = {}
    for letter in letters:
        key = letter.failure.stage, letter.failure.reason
        reasons.setdefault(key, ReasonCount(*key)).add(letter.time)
        if letter.time is not None:
            hour = letter.time.replace(minute=0, second=0, microsecond=0)
            hours[hour] = hours.get(hour, 0) + 1
    ordered = sorted(reasons.values(), key=lambda each: (-each.letters, each.stage, each.reason))
    return LetterCounts(ordered, dict(sorted(hours.items())))


def letter_json(letter: StoredLetter) -> dict[str, Any]:
    """A dead letter as JSON shows it."""
    failure = letter.failure
    return {
        "partition": letter.at[0],
        "offset": letter.at[1],
        "time": _iso(letter.time),
        "document_id": letter.document_id,
        "source": {"topic": failure.topic, "partition": failure.partition, "offset": failure.offset},
        "headers": failure.family.value,
        "stage": failure.stage,
        "reason": failure.reason,
        "message": failure.message,
        "attempts": failure.attempts,
        "replays": failure.replays,
        "bytes": letter.size,
        "truncated": failure.truncated,
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")
