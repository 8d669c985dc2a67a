"""Dead letters sent again to the documents topic, each at most once."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from stream.contract.failures import REPLAY_OF, Failure, replayed_headers
from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.kafka.letters import StoredLetter, own_id, read_letters
from stream.kafka.producer import Position, open_producer
from stream.kafka.reader import read_topic
from stream.kafka.topics import partitions_of
from stream.settings import Settings

_UNCONFIRMED = 100
_CLOCKS = timedelta(hours=1)  # the clocks of two machines differ by less


@dataclass(slots=True)
class ReplayPlan:
    """Dead letters by what a replay does with them.

    Attributes:
        send: To be sent.
        done: Sent by an earlier run, or about the same document as one that is.
        refused: Not to be sent, each with the reason.
    """

    send: list[StoredLetter] = field(default_factory=list)
    done: list[StoredLetter] = field(default_factory=list)
    refused: list[tuple[StoredLetter, str]] = field(default_factory=list)


def plan_replay(
    letters: Iterable[StoredLetter],
    replayed: Collection[str],
    *,
    documents_topic: str,
    most_replays: int,
    force: bool = False,
) -> ReplayPlan:
    """Decide about dead letters.

    Args:
        letters: The selected ones.
        replayed: Positions (topic/partition/offset) whose documents were sent again already.
        documents_topic: Topic to send to.
        most_replays: Times that a document may be sent again.
        force: Send a document beyond that number too.
    """
    plan = ReplayPlan()
    known = set(replayed)
    for letter in letters:
        position = letter.failure.position
        if position in known:
            plan.done.append(letter)
        elif why := _refusal(letter, documents_topic, None if force else most_replays):
            plan.refused.append((letter, why))
        else:
            known.add(position)
            plan.send.append(letter)
    return plan


@dataclass(frozen=True, slots=True)
class ReplayedRecord:
    """A record for the documents topic; a partition of None is chosen by the key."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    partition: int | None


def replayed_record(record: Record, failure: Failure, partitions: Collection[int]) -> ReplayedRecord:
    """The document of a dead letter as it is sent again: key, value and headers as they were.

    A document that names no id and has no key gets its position as its key: that was its id.

    Args:
        record: The dead letter.
        failure: Read from its headers.
        partitions: Of the documents topic; the document goes back to its own one where that exists.
    """
    value = record.value
    if failure.reason == Reason.TOMBSTONE and not value:
        value = None  # without a key it could not be a dead letter, so that it was given an empty value
    has_id = record.key is not None or own_id(value)
    return ReplayedRecord(
        key=record.key if has_id else failure.position.encode(),
        value=value,
        headers=list(replayed_headers(record, failure)),
        partition=failure.partition if failure.partition in partitions else None,
    )


async def replayed_positions(settings: Settings, letters: Collection[StoredLetter]) -> set[str]:
    """Positions of documents that were sent again, read from the documents topic.

    It is read from the time of the earliest of the dead letters, since none can be sent again before.

    Raises:
        DeliveryError: The broker does not answer, or has no documents topic.
    """
    if not letters:
        return set()
    epoch = datetime.fromtimestamp(0, UTC)
    earliest = min(letter.time or epoch for letter in letters)
    documents = read_topic(
        settings.documents_topic,
        settings=settings,
        from_beginning=True,
        follow=False,
        since=max(earliest, epoch + _CLOCKS) - _CLOCKS,
    )
    async with aclosing(documents) as read:
        return {
            value.decode(errors="replace")
            async for record in read
            for name, value in record.headers
            if name == REPLAY_OF and value
        }


async def send_again(
    settings: Settings,
    letters: Collection[StoredLetter],
    *,
    on_confirmed: Callable[[StoredLetter, Position], None],
) -> None:
    """Send the documents of dead letters again; returns when the broker has confirmed each.

    Args:
        settings: Broker, topics and size limit.
        letters: Dead letters that ``plan_replay`` would send.
        on_confirmed: Called with each and the position of its document, once the broker has confirmed it.

    Raises:
        DeliveryError: The broker does not answer, lacks a topic, or did not take a document.
    """
    partitions = {each.partition for each in await partitions_of(settings, settings.documents_topic)}
    chosen = {letter.at for letter in letters}
    async with open_producer(settings) as producer, aclosing(read_letters(settings)) as stored:
        unconfirmed: deque[asyncio.Task[None]] = deque()
        try:
            async for record, letter in stored:
                if letter is None or letter.at not in chosen:
                    continue
                again = replayed_record(record, letter.failure, partitions)
                sending = await producer.send(
                    settings.documents_topic,
                    again.value,
                    key=again.key,
                    partition=again.partition,
                    headers=again.headers,
                )
                unconfirmed.append(asyncio.create_task(_confirm(letter, sending, on_confirmed)))
                if len(unconfirmed) >= _UNCONFIRMED:
                    await unconfirmed.popleft()
            await asyncio.gather(*unconfirmed)
        except KafkaError as error:
            raise DeliveryError(
                f"the broker at {settings.broker} did not take every document: {error!r}; "
                "run the same command again, it sends those that are missing"
            ) from error
        finally:
            await asyncio.gather(*unconfirmed, return_exceptions=True)


async def _confirm(
    letter: StoredLetter,
    sending: asyncio.Future[RecordMetadata],
    on_confirmed: Callable[[StoredLetter, Position], None],
) -> None:
    at = await sending
    on_confirmed(letter, (at.partition, at.offset))


def _refusal(letter: StoredLetter, documents_topic: str, most_replays: int | None) -> str | None:
    """Reason not to send a dead letter again; None where there is none."""
    failure = letter.failure
    if failure.topic is None or letter.source is None:
        return "its headers do not name topic, partition and offset of the document"
    if failure.topic != documents_topic:
        return (
            f"the document is of topic {failure.topic}, not of {documents_topic}; "
            f"with PADELLM_DOCUMENTS_TOPIC={failure.topic} it is sent there"
        )
    if failure.truncated is not None:
        return (
            f"only {letter.size or 0:,} of its {failure.truncated:,} bytes were kept; "
            "send the document again from where it is whole"
        )
    if letter.size is None and failure.reason != Reason.TOMBSTONE:
        return "it has no value: who wrote the dead letter did not copy the document"
    if most_replays is not None and failure.replays >= most_replays:
        return f"the document has been sent again {failure.replays} times and failed each time; see --force"
    return None
