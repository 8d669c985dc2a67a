"""The real worker over the scripted model, which keeps a journal, with a planted bug if asked for.

python -m tests.delivery.recording_worker NAME JOURNAL [BUG]
"""

import asyncio
import random
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faust
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from stream.generation import Completion, Generator
from stream.settings import Inference, Settings
from stream.worker import app, consumer
from stream.worker.committer import TransactionalPublisher
from stream.worker.dead_letters import DeadLetters
from stream.worker.handler import Handler
from stream.worker.intake import Intake
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import make_generator
from stream.worker.transaction_requests import StableOffsetFetch
from stream.worker.transactional_producer import Membership, TransactionalProducer
from tests.delivery.history import (
    Assignment,
    HandlerEnd,
    HandlerStart,
    Journal,
    Poll,
    Position,
    content,
    now,
)
from tests.delivery.recorded_transactions import RecordedProducer
from tests.delivery.stepped_clock import SteppedClock
from tests.integration.scripted_worker import ScriptedGenerator


def record_in(journal: Journal, name: str) -> None:
    """Write assignments, fetched documents, the handling of each and transactions into a journal."""
    admit, handle, assigned = Intake.admit, Handler.handle, consumer.OrderedConsumer.on_partitions_assigned

    async def recorded_admit(self: Any, partition: Any, generation: int, record: Any, **options: Any) -> None:
        position = Position(record.topic, record.partition, record.offset)
        journal.append(Poll(process=name, time=now(), position=position, content=content(record.value)))
        await admit(self, partition, generation, record, **options)

    async def recorded_handle(self: Any, record: Any, fetched: float) -> None:
        position = Position(record.topic, record.partition, record.offset)
        journal.append(HandlerStart(process=name, time=now(), position=position))
        given_up = True
        try:
            await handle(self, record, fetched)
            given_up = False
        finally:
            journal.append(HandlerEnd(process=name, time=now(), position=position, given_up=given_up))

    async def recorded_assigned(self: Any, partitions: Any, generation_id: int = 0) -> None:
        await assigned(self, partitions, generation_id)
        if self._transactions is None:  # else they note it, once the earlier owner is fenced
            lanes = tuple(sorted((tp.topic, tp.partition) for tp in partitions))
            journal.append(Assignment(process=name, time=now(), generation=generation_id, partitions=lanes))

    Intake.admit = recorded_admit
    Handler.handle = recorded_handle
    consumer.OrderedConsumer.on_partitions_assigned = recorded_assigned
    app.TransactionalPublisher = partial(
        TransactionalPublisher, make=partial(RecordedProducer, journal, name)
    )


def commit_as_faust_does() -> None:
    """Plant Faust's own acknowledgement and commit, under a stream that acknowledges."""
    for ours in ("ack", "force_commit", "_add_gap"):
        delattr(consumer.OrderedConsumer, ours)
    del consumer._ConsumerThread._commit
    faust.Stream.noack = lambda stream: stream


def commit_automatically() -> None:
    """Plant aiokafka's automatic commits: of what was fetched, every second."""
    made = consumer.AIOKafkaConsumer

    def automatic(**options: Any) -> Any:
        return made(**{**options, "enable_auto_commit": True, "auto_commit_interval_ms": 1000})

    async def nothing(self: Any, *_: Any, **__: Any) -> bool:
        return False

    consumer.AIOKafkaConsumer = automatic
    consumer.OrderedConsumer.force_commit = nothing


def commit_before_publishing() -> None:
    """Plant a handler that returns at once and does its work in the background."""
    handle = Handler.handle
    running = set()

    async def in_background(self: Handler, record: Any, fetched: float) -> None:
        task = asyncio.create_task(handle(self, record, fetched))
        running.add(task)
        task.add_done_callback(running.discard)

    Handler.handle = in_background


def commit_after_the_membership() -> None:
    """Plant commits under whatever membership there is, none included."""
    commit = consumer._ConsumerThread._commit

    async def under_the_present_one(self: Any, offsets: Any) -> bool:
        self.note_membership()
        return await commit(self, offsets)

    consumer._ConsumerThread._commit = under_the_present_one


def fence_nobody() -> None:
    """Plant a producer with an id of its own for each start, without a membership, that waits for nobody."""
    initialise = TransactionalProducer.__init__

    def stranger(self: TransactionalProducer, *args: Any) -> None:
        initialise(self, *args)
        self._id += f"/{uuid.uuid4()}"
        self._membership = Membership(-1, "", None)

    async def nothing(self: TransactionalProducer) -> None:
        pass

    async def unstable(self: TransactionalProducer) -> int:
        request = StableOffsetFetch(self._settings.group, self._partition)
        group, topics, _, tags = request._fields
        request._fields = group, topics, False, tags
        ((_, (part,), _),) = (await self._send(self._group_coordinator, request)).topics
        return int(part[1])

    TransactionalProducer.__init__ = stranger
    TransactionalProducer._assert_member = nothing
    TransactionalProducer._stable_offset = unstable


def drop_dead_letters() -> None:
    """Plant a worker that lets documents without an event go."""

    async def dropped(*_: Any, **__: Any) -> None:
        pass

    DeadLetters._publish_fitting = dropped


def count_twice() -> None:
    """Plant a counter that counts each event twice."""
    event = WorkerMetrics.event

    def twice(self: WorkerMetrics, counted: Any) -> None:
        event(self, counted)
        event(self, counted)

    WorkerMetrics.event = twice


def score_by_chance() -> None:
    """Plant a model whose scores are others each time."""
    generate = ScriptedGenerator.generate

    async def by_chance(self: ScriptedGenerator, prompt: Any) -> Completion:
        completion = await generate(self, prompt)
        drift = random.uniform(0.01, 0.02)
        return Completion(completion.ids, tuple(-drift for _ in completion.ids))

    ScriptedGenerator.generate = by_chance


def go_on_without_an_answer() -> None:
    """Plant a producer that fences when it is refused, and goes on in its transaction when no answer came."""
    begin, commit = TransactionalProducer.begin, TransactionalProducer.commit
    reached: dict[TransactionalProducer, int] = {}
    unanswered: set[TransactionalProducer] = set()

    async def begun(self: TransactionalProducer) -> int:
        if self in unanswered:
            unanswered.discard(self)
            await self.close()
            self._client = AIOKafkaClient(bootstrap_servers=self._settings.broker)
            await self._client.bootstrap()
        else:
            reached[self] = await begin(self)
        return reached[self]

    async def committed(self: TransactionalProducer, messages: Any, offset: int) -> None:
        try:
            await commit(self, messages, offset)
        except KafkaError:
            unanswered.add(self)
            raise
        reached[self] = offset

    TransactionalProducer.begin = begun
    TransactionalProducer.commit = committed


BUGS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        commit_as_faust_does,
        commit_automatically,
        commit_before_publishing,
        commit_after_the_membership,
        fence_nobody,
        drop_dead_letters,
        count_twice,
        score_by_chance,
        go_on_without_an_answer,
    )
}


async def _make(settings: Settings, folder: Path, metrics: WorkerMetrics) -> Generator:
    """The script in this process, or the client of a Triton that has it."""
    if settings.inference is Inference.IN_PROCESS:
        return ScriptedGenerator(folder)
    return await make_generator(settings, folder, metrics)


def main(name: str, journal: str, *bugs: str) -> None:
    """Serve under a name, with a journal and planted bugs, until a signal comes."""
    for bug in bugs:
        BUGS[bug]()
    record_in(Journal(Path(journal)), name)
    SteppedClock(Path(journal).with_suffix(".clock")).take_over()
    app.run(Settings(), make=_make)


if __name__ == "__main__":
    main(*sys.argv[1:])
