"""Commits, fetches and background tasks of the consumer."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException, IllegalGenerationError

from stream.worker.consumer import OrderedConsumer, _ConsumerThread

PARTITION = TopicPartition("docs", 0)


class ScriptedCoordinator:
    """A group coordinator that keeps commits, or refuses them."""

    def __init__(self) -> None:
        self.generation, self.member_id = 7, "me"
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
