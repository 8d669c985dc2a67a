"""Commits, fetches and background tasks of the consumer."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException, IllegalGenerationError

from stream.worker.consumer import OrderedConsumer, _ConsumerThread
from stream.worker.offset_tracker import OffsetTracker

PARTITION = TopicPartition("docs", 0)


class ScriptedCoordinator:
    """A group coordinator that keeps commits, or refuses them."""

    def __init__(self) -> None:
        self.generation, self.member_id, self._group_instance_id = 7, "me", None
        self.error: Exception | None = None
        self.commits: list[tuple[int, str, int]] = []

    async def _do_commit_offsets(self, _assignment, offsets) -> None:
        self.commits.append((self.generation, self.member_id, offsets[PARTITION].offset))
        if self.error is not None:
            raise self.error


@pytest.fixture
def coordinator():
    """A coordinator whose group has taken this member in."""
    return ScriptedCoordinator()


@pytest.fixture
def thread(coordinator):
    """A consumer thread that does not run, with partitions assigned."""
    thread = _ConsumerThread.__new__(_ConsumerThread)
    thread._consumer = SimpleNamespace(_coordinator=coordinator)
    thread.consumer = SimpleNamespace(note_failed_commit=lambda _: None)
    thread.note_membership()
    return thread


async def test_consumer_commits_as_the_member_that_was_assigned(thread, coordinator):
    """A commit bears the generation and member of the assignment."""
    assert await thread._commit({PARTITION: 5})
    assert coordinator.commits == [(7, "me", 5)]


@pytest.mark.parametrize("membership", [(-1, ""), (8, "me"), (7, "another")])
async def test_consumer_commits_nothing_after_its_membership(thread, coordinator, membership):
    """A worker that the group has dropped, or taken in anew, commits nothing of the time before."""
    coordinator.generation, coordinator.member_id = membership
    assert not await thread._commit({PARTITION: 5})
    assert coordinator.commits == []


async def test_consumer_refused_commit_is_sent_once(thread, coordinator):
    """A commit that fails is not repeated by itself, when the membership may have ended meanwhile."""
    coordinator.error = IllegalGenerationError()
    assert not await thread._commit({PARTITION: 5})
    assert len(coordinator.commits) == 1


@pytest.mark.parametrize("dies", ["fetcher", "coordinator"])
async def test_consumer_background_task_that_ended_is_named(thread, coordinator, dies):
    """A fetch or coordination task that has died is known, since no record would come without it."""
    tasks = {name: asyncio.get_running_loop().create_future() for name in ("fetcher", "coordinator")}
    thread._consumer._fetcher = SimpleNamespace(_fetch_task=tasks["fetcher"])
    coordinator._coordination_task = tasks["coordinator"]
    assert thread.dead_task() is None
    tasks[dies].set_exception(RuntimeError("a bug"))
    assert "a bug" in thread.dead_task()


async def test_consumer_fetch_that_fails_is_an_outage(health, monkeypatch):
    """Records that cannot be fetched end no worker: the cause is visible until they come."""
    monkeypatch.setattr("stream.worker.consumer._FETCH_PAUSE", 0)
    answers = [CorruptRecordException("Invalid CRC"), {PARTITION: ["record"]}]

    async def getmany(_partitions, _timeout):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    consumer = OrderedConsumer.__new__(OrderedConsumer)
    consumer._health, consumer._thread = health, SimpleNamespace(getmany=getmany)
    health.broker.worked("probe")
    assert await consumer._getmany({PARTITION}, timeout=1) == {}
    health.broker.worked("probe")
    assert "Invalid CRC" in health.broker.cause
    assert await consumer._getmany({PARTITION}, timeout=1) == {PARTITION: ["record"]}
    assert health.broker.cause is None


class ScriptedTransactions:
    """Committed offsets, as transactions have read them."""

    def __init__(self, offsets: dict[TopicPartition, int]) -> None:
        self._offsets = offsets

    def committed(self) -> dict[TopicPartition, int]:
        """As given."""
        return self._offsets


class SeekingThread:
    """A consumer thread that keeps where it was sent, and commits nothing."""

    def __init__(self) -> None:
        self.beginnings: list[TopicPartition] = []
        self.seeks: dict[TopicPartition, int] = {}

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Keep them."""
        self.beginnings += partitions

    async def seek_wait(self, offsets: dict[TopicPartition, int]) -> None:
        """Keep them."""
        self.seeks |= offsets


@pytest.fixture
def transactional():
    """A consumer whose offsets are committed in transactions."""
    consumer = OrderedConsumer.__new__(OrderedConsumer)
    consumer._thread = SeekingThread()
    consumer._transactions = ScriptedTransactions({PARTITION: 5, TopicPartition("docs", 1): -1})
    return consumer


async def test_consumer_with_transactions_reads_from_their_offsets(transactional):
    """Reading begins where the transactions ended, not where aiokafka's earlier read of the offsets was."""
    assert await transactional.seek_to_committed() == {PARTITION: 5, TopicPartition("docs", 1): -1}
    assert transactional._thread.seeks == {PARTITION: 5}
    assert transactional._thread.beginnings == [TopicPartition("docs", 1)]
    assert all(isinstance(each, TopicPartition) for each in transactional._thread.beginnings)


async def test_consumer_with_transactions_commits_nothing_beside_them(transactional):
    """However much is finished, no offset is committed outside a transaction."""
    transactional._tracker = OffsetTracker()
    transactional._tracker.finish(transactional._tracker.open(PARTITION, 7, 4))
    assert not await transactional.force_commit()


@pytest.fixture
def standing():
    """A consumer of one partition that stands at offset 4 of 10, and has begun nothing."""
    consumer = OrderedConsumer.__new__(OrderedConsumer)
    state = SimpleNamespace(position=4, highwater=10, lso=10, has_valid_position=True)
    assignment = SimpleNamespace(tps={PARTITION}, state_value=lambda _: state, led=True)
    consumer._thread = SimpleNamespace(
        subscription_assignment=lambda: assignment, has_leader=lambda _: assignment.led
    )
    consumer._tracker, consumer._transactions, consumer._handed_over = OffsetTracker(), None, {}
    consumer.app = SimpleNamespace(consumer_generation_id=1)
    consumer.assignment = lambda: {PARTITION}
    consumer.position = state
    return consumer


def _waits(consumer: OrderedConsumer, *, room: bool = True) -> list[tuple[int, str]]:
    return [(wait.offset, wait.what) for wait in consumer.waits(room=room)]


def test_consumer_waits_for_records_that_can_be_read(standing):
    """Records before the end are a wait; those behind an open transaction, or without room, are none."""
    assert _waits(standing) == [(4, "records are not fetched")]
    assert _waits(standing, room=False) == []
    standing.position.lso = 4
    assert _waits(standing) == []
    standing.position.lso, standing.position.position = 10, 10
    assert _waits(standing) == []


async def test_consumer_waits_for_committed_offsets(standing, monkeypatch):
    """While the committed offsets are not known, each partition says so."""
    asked, known = asyncio.Event(), asyncio.Event()

    async def seek_to_committed(_consumer):
        asked.set()
        await known.wait()
        return {}

    monkeypatch.setattr(OrderedConsumer, "seek_to_committed", seek_to_committed)
    standing._read_offset, standing._committed_offset = {}, {}
    seeking = asyncio.create_task(standing.perform_seek())
    await asked.wait()
    assert (-1, "its committed offset is not known") in _waits(standing)
    known.set()
    await seeking
    assert (-1, "its committed offset is not known") not in _waits(standing)


def test_consumer_waits_for_fetched_records_to_begin(standing):
    """A record that Faust has got in this generation, and that nobody has begun, is a wait."""
    standing.position.position = 10
    standing._handed_over[PARTITION] = 1, 9
    standing._tracker.open(PARTITION, 1, 7)
    assert _waits(standing) == [(8, "fetched records are not begun")]
    standing.app.consumer_generation_id = 2
    assert _waits(standing) == []
    standing.app.consumer_generation_id = 1
    standing._tracker.open(PARTITION, 1, 9)
    assert _waits(standing) == []


def test_consumer_wait_without_a_leader_is_no_reason_to_restart(standing):
    """A partition that no broker leads is named, and a restart of the worker would not help it."""
    standing._thread.has_leader = lambda _: False
    (wait,) = standing.waits(room=True)
    assert wait.what == "records are not fetched, without a leader"
    assert (wait.bounds.late, wait.bounds.stuck) == (30.0, float("inf"))


def test_consumer_waits_for_commits(standing):
    """Finished documents whose offset is not stored are a wait, unless transactions store it."""
    standing.position.position = 10
    for offset in (0, 1):
        standing._tracker.finish(standing._tracker.open(PARTITION, 1, offset))
    assert _waits(standing) == [(0, "finished documents are not committed")]
    standing._tracker.committed({PARTITION: 2})
    assert _waits(standing) == []
    standing._tracker.finish(standing._tracker.open(PARTITION, 1, 5))
    assert _waits(standing) == [(2, "finished documents are not committed")]
    standing._transactions = object()
    assert _waits(standing) == []
