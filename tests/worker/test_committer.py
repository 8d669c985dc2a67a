"""Outcomes in transactions, over a producer that plays a broker."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.settings import Settings
from stream.worker.committer import TransactionalPublisher
from stream.worker.offset_tracker import OffsetTracker
from stream.worker.publisher import KeyRequired, MessageTooLarge, Outgoing, PartitionLost
from stream.worker.transactional_producer import (
    Membership,
    MembershipEnded,
    MessageRefused,
    TransactionInDoubt,
)

PARTITION = TopicPartition("docs", 0)
OTHER = TopicPartition("docs", 1)
MEMBERSHIP = Membership(7, "me", None)
LOST_ANSWER = "committed, but the answer is lost"


class ScriptedBroker:
    """Transactions of one partition; its script holds errors of ``commit``, or ``LOST_ANSWER``."""

    def __init__(self) -> None:
        self.offset = -1
        self.visible: list[bytes] = []
        self.transactions: list[list[bytes]] = []
        self.script: list[Any] = []
        self.begins: list[Exception] = []
        self.begun = 0
        self.closed = False
        self.pause: asyncio.Event | None = None
        self.paused = False

    async def begin(self) -> int:
        """Settle what was open."""
        await asyncio.sleep(0)
        if self.begins:
            raise self.begins.pop(0)
        self.begun += 1
        return self.offset

    async def commit(self, messages: list[Outgoing], offset: int) -> None:
        """Commit all or nothing."""
        await asyncio.sleep(0)
        if self.pause is not None:
            self.paused = True
            await self.pause.wait()
        answer = self.script.pop(0) if self.script else None
        if isinstance(answer, Exception):
            raise answer
        self.offset = offset
        self.transactions.append([message.value for message in messages])
        self.visible += self.transactions[-1]
        if answer == LOST_ANSWER:
            raise TransactionInDoubt("no answer")

    async def close(self) -> None:
        """Note it."""
        self.closed = True


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr("stream.worker.committer._LINGER", 0.001)
    monkeypatch.setattr("stream.worker.committer.pauses", lambda **_: iter([0.0] * 20))


@pytest.fixture
def broker():
    """The broker of partition 0."""
    return ScriptedBroker()


@pytest.fixture
def tracker():
    """A tracker of documents."""
    return OffsetTracker()


@pytest.fixture
async def publisher(broker, tracker, health, metrics):
    """A publisher that has taken partition 0 over."""
    brokers = {PARTITION: broker, OTHER: ScriptedBroker()}

    def make(_settings: Settings, partition: TopicPartition, membership: Membership) -> Any:
        assert membership == MEMBERSHIP
        return brokers[partition]

    publisher = TransactionalPublisher(Settings(), tracker, metrics, health.broker, make)
    await publisher.take_over([PARTITION, OTHER], MEMBERSHIP)
    yield publisher
    await publisher.release()


def _message(offset: int, *, partition: int = 0) -> Outgoing:
    return Outgoing("out", b"key", b"%d" % offset, (), Record("docs", partition, offset))


def _publish(publisher, tracker, *offsets: int) -> list[asyncio.Task[None]]:
    for offset in sorted(offsets):
        tracker.open(PARTITION, 7, offset)
    return [asyncio.create_task(publisher.publish(_message(offset))) for offset in offsets]


async def _within(*tasks: asyncio.Task[None]) -> list[Any]:
    async with asyncio.timeout(5):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_committer_commits_outcomes_with_the_offset_behind_them(publisher, broker, tracker):
    """Outcomes that are ready together are one transaction, in the order of their documents."""
    assert await _within(*_publish(publisher, tracker, 2, 0, 1)) == [None] * 3
    assert broker.transactions == [[b"0", b"1", b"2"]]
    assert publisher.committed() == {PARTITION: 3, OTHER: -1}
    assert list(tracker.open_offsets(PARTITION)) == []


async def test_committer_never_overtakes_an_unfinished_document(publisher, broker, tracker):
    """Outcomes behind a document in flight wait for it."""
    tracker.open(PARTITION, 7, 0)
    later = _publish(publisher, tracker, 1, 2)
    await asyncio.sleep(0.02)
    assert broker.transactions == []
    first = asyncio.create_task(publisher.publish(_message(0)))
    await _within(first, *later)
    assert broker.transactions == [[b"0", b"1", b"2"]]


async def test_committer_bounds_a_transaction(publisher, broker, tracker, monkeypatch):
    """A transaction has at most so many outcomes; the others are the next one's."""
    monkeypatch.setattr("stream.worker.committer._MOST", 2)
    await _within(*_publish(publisher, tracker, 0, 1, 2))
    assert broker.transactions == [[b"0", b"1"], [b"2"]]


async def test_committer_in_doubt_asks_before_it_repeats(publisher, broker, tracker, metrics):
    """An outcome whose answer was lost is not published again; one that was aborted is."""
    broker.script = [LOST_ANSWER]
    await _within(*_publish(publisher, tracker, 0))
    broker.script = [TransactionInDoubt("aborted"), ConnectionError("away")]
    broker.begins = [TransactionInDoubt("not ready")]
    await _within(*_publish(publisher, tracker, 1, 2))
    assert broker.visible == [b"0", b"1", b"2"]
    assert broker.begun == 4  # at the assignment, and once after each doubt
    assert metrics.registry.get_sample_value("padellm_retries_total", {"of": "transaction"}) == 4


@pytest.mark.parametrize("refusal", [MessageTooLarge("large"), KeyRequired("key")])
async def test_committer_refused_message_gets_another_form(publisher, broker, tracker, refusal):
    """The document of a message that its topic refuses has the refusal, and its next form is committed."""
    broker.script = [MessageRefused(1, refusal)]
    first, second, third = _publish(publisher, tracker, 0, 1, 2)
    with pytest.raises(type(refusal)):
        await asyncio.wait_for(second, 5)
    smaller = asyncio.create_task(publisher.publish(_message(1)))
    assert await _within(first, smaller, third) == [None] * 3
    assert broker.visible == [b"0", b"1", b"2"]


async def test_committer_refused_batch_is_divided(publisher, broker, tracker):
    """When a topic refuses several messages together each is tried alone."""
    broker.script = [MessageRefused(None, MessageTooLarge("together"))]
    assert await _within(*_publish(publisher, tracker, 0, 1, 2)) == [None] * 3
    assert broker.transactions[0] == [b"0"]
    assert broker.visible == [b"0", b"1", b"2"]


def _row(offset: int, value: bytes) -> Outgoing:
    return Outgoing("rows", b"key", value, (), Record("docs", 0, offset))


async def test_committer_puts_an_event_and_its_rows_in_one_transaction(publisher, broker, tracker):
    """The rows of a document are committed with its event and the offset behind it, or not at all."""
    broker.script = [TransactionInDoubt("aborted")]
    for offset in (0, 1):
        tracker.open(PARTITION, 7, offset)
    outcomes = [
        asyncio.create_task(publisher.publish(_message(0), _row(0, b"0/1"), _row(0, b"0/2"))),
        asyncio.create_task(publisher.publish(_message(1), _row(1, b"1/1"))),
    ]
    assert await _within(*outcomes) == [None] * 2
    assert broker.transactions == [[b"0", b"0/1", b"0/2", b"1", b"1/1"]]


@pytest.mark.parametrize("index", [1, None], ids=["alone", "in a batch"])
async def test_committer_refused_row_refuses_its_document(publisher, broker, tracker, index):
    """A document whose row a topic refuses, alone or in its batch, has the refusal, and nothing is there."""
    broker.script = [MessageRefused(index, MessageTooLarge("rows"))]
    tracker.open(PARTITION, 7, 0)
    outcome = asyncio.create_task(publisher.publish(_message(0), _row(0, b"0/1")))
    with pytest.raises(MessageTooLarge):
        await asyncio.wait_for(outcome, 5)
    assert broker.visible == []


@pytest.mark.parametrize("at", ["commit", "begin"])
async def test_committer_gives_up_what_another_owns(publisher, broker, tracker, at):
    """A partition with another owner is given up: nothing more is committed, and no worker ends for it."""
    ended = MembershipEnded("another generation")
    broker.script = [ended if at == "commit" else TransactionInDoubt("fenced")]
    broker.begins = [ended]
    (outcome,) = await _within(*_publish(publisher, tracker, 0))
    assert isinstance(outcome, PartitionLost)
    with pytest.raises(PartitionLost):
        await publisher.publish(_message(1))
    assert (broker.visible, publisher.broken()) == ([], None)


async def test_committer_foreign_offset_ends_the_worker(publisher, broker, tracker):
    """An offset that this worker did not commit is no place to go on from."""
    broker.script = [TransactionInDoubt("no answer")]
    broker.offset = 40
    (outcome,) = await _within(*_publish(publisher, tracker, 0))
    assert isinstance(outcome, PartitionLost)
    assert "offset 40 is committed where -1 or 1 was expected" in publisher.broken()


async def test_committer_old_broker_ends_the_worker(broker, tracker, health, metrics):
    """A broker that has no such transactions is named, instead of being asked for ever."""
    broker.begins = [DeliveryError("needs Kafka 2.5 or later")]
    publisher = TransactionalPublisher(Settings(), tracker, metrics, health.broker, lambda *_: broker)
    await publisher.take_over([PARTITION], MEMBERSHIP)
    assert "needs Kafka 2.5 or later" in publisher.broken()
    assert publisher.committed() == {}


async def test_committer_waits_for_its_broker(broker, tracker, health, metrics):
    """Partitions are taken over once the broker answers; meanwhile the cause is visible."""
    broker.begins = [ConnectionError("away")] * 3
    publisher = TransactionalPublisher(Settings(), tracker, metrics, health.broker, lambda *_: broker)
    taking = asyncio.create_task(publisher.take_over([PARTITION], MEMBERSHIP))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not taking.done()
    await asyncio.wait_for(taking, 5)
    assert publisher.committed() == {PARTITION: -1}
    await publisher.release()


async def test_committer_release_leaves_no_transaction_open(publisher, broker, tracker):
    """Partitions that go are settled once more, and outcomes that still wait are not committed."""
    tracker.open(PARTITION, 7, 0)
    (waiting,) = _publish(publisher, tracker, 1)
    broker.script = [TransactionInDoubt("no answer")]
    doubtful = asyncio.create_task(publisher.publish(_message(0)))
    while broker.script:  # noqa: ASYNC110 - the broker has no event
        await asyncio.sleep(0)
    begun = broker.begun
    await publisher.release()
    assert (broker.begun > begun, broker.closed) == (True, True)
    assert all(isinstance(each, PartitionLost) for each in await _within(waiting, doubtful))
    with pytest.raises(PartitionLost):
        await publisher.publish(_message(2))


async def test_committer_forgets_a_log_that_went_back(publisher, broker, tracker):
    """Outcomes of a log that is gone are dropped, and those of the new one are committed."""
    tracker.open(PARTITION, 7, 500)
    (waiting,) = _publish(publisher, tracker, 501)
    await asyncio.sleep(0)
    tracker.forget([PARTITION])
    publisher.forget(PARTITION)
    assert isinstance((await _within(waiting))[0], PartitionLost)
    await _within(*_publish(publisher, tracker, 0))
    assert broker.visible == [b"0"]


async def test_committer_log_that_goes_back_in_a_transaction_holds_up_no_new_document(
    publisher, broker, tracker
):
    """Documents of a new log, at lower offsets, are committed although a transaction of the old one ended."""
    (old,) = _publish(publisher, tracker, 500)
    broker.pause = asyncio.Event()
    while not broker.paused:  # noqa: ASYNC110 - the broker has no event
        await asyncio.sleep(0)
    tracker.forget([PARTITION])
    publisher.forget(PARTITION)
    new = _publish(publisher, tracker, 0)
    broker.pause.set()
    assert await _within(*new) == [None]
    assert isinstance((await _within(old))[0], PartitionLost)
    assert broker.visible == [b"500", b"0"]


async def test_committer_message_beyond_the_setting_is_refused_at_once(publisher, monkeypatch):
    """A message larger than the setting allows needs no transaction."""
    monkeypatch.setattr(TransactionalPublisher, "largest", 10)
    with pytest.raises(MessageTooLarge, match="PADELLM_MAX_MESSAGE_BYTES"):
        await publisher.publish(_message(0))


async def test_committer_passes_over_records_without_a_message(publisher, broker, tracker):
    """Offsets of records without a document are committed with the outcomes around them, or alone."""
    for offset in range(4):
        tracker.open(PARTITION, 7, offset)
    over = [asyncio.create_task(publisher.pass_over(_message(offset).record)) for offset in (0, 2, 3)]
    one = asyncio.create_task(publisher.publish(_message(1)))
    assert await _within(*over, one) == [None] * 4
    assert broker.transactions == [[b"1"]]
    tracker.open(PARTITION, 7, 4)
    await asyncio.wait_for(publisher.pass_over(_message(4).record), 5)
    assert publisher.committed()[PARTITION] == 5
    assert list(tracker.open_offsets(PARTITION)) == []


async def test_committer_refused_message_is_found_among_records_without_one(publisher, broker, tracker):
    """A refusal counts messages alone, whatever records without one are beside them."""
    broker.script = [MessageRefused(1, MessageTooLarge("large"))]
    for offset in range(4):
        tracker.open(PARTITION, 7, offset)
    over = [asyncio.create_task(publisher.pass_over(_message(offset).record)) for offset in (0, 2)]
    first, second = (asyncio.create_task(publisher.publish(_message(offset))) for offset in (1, 3))
    with pytest.raises(MessageTooLarge):
        await asyncio.wait_for(second, 5)
    assert await _within(first, *over) == [None] * 3
