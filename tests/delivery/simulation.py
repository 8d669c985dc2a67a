"""Simulated runs of workers that keep their promises, for tests of the checker."""

from collections import defaultdict
from random import Random

from tests.delivery.history import (
    Ack,
    Assignment,
    Commit,
    HandlerEnd,
    HandlerStart,
    History,
    LogEnd,
    Poll,
    Position,
    ReaderPoll,
    Record,
    Report,
    Send,
    TransactionEnd,
)

_PARTITIONS = 2


class Simulation:
    """A producer, workers that die between any two steps, and a reader, over logs in memory.

    Args:
        random: Decides everything.
        exactly_once: Outcomes and offsets go out in transactions, in order; else a document at a time, side
            by side.
    """

    def __init__(self, random: Random, *, exactly_once: bool) -> None:
        self._random = random
        self._exactly_once = exactly_once
        self._records: list[Record] = []
        self._generation = 0
        self._committed: dict[int, int] = defaultdict(int)
        self._end: dict[tuple[str, int], int] = defaultdict(int)
        self._documents: dict[int, list[Ack]] = defaultdict(list)
        self._handled: dict[str, int] = defaultdict(int)

    def run(self, documents: int) -> History:
        """Answer so many documents, whatever dies."""
        for number in range(documents):
            self._produce(number)
        while any(self._committed[part] < self._next(part) for part in range(_PARTITIONS)):
            self._generation += 1
            worker = f"worker-{self._generation}"
            lanes = tuple(("documents", part) for part in range(_PARTITIONS))
            self._add(
                Assignment(process=worker, time=self._now, generation=self._generation, partitions=lanes)
            )
            for part in range(_PARTITIONS):
                dies = self._random.random() < 0.4
                self._work(worker, part, dies=dies)
                if dies:
                    break
        self._records += [
            LogEnd(process="reader", time=self._now, topic=topic, partition=part, stable=end, end=end)
            for (topic, part), end in self._end.items()
        ]
        return History(self._records)

    @property
    def _now(self) -> float:
        return len(self._records) / 1000

    def _add(self, record: Record) -> None:
        self._records.append(record)

    def _next(self, part: int) -> int:
        return self._documents[part][-1].position.offset + 1 if self._documents[part] else 0

    def _place(self, topic: str, part: int) -> Position:
        """Take the next offset of a log; now and then one that holds no message."""
        self._end[topic, part] += 1 + (self._random.random() < 0.1)
        return Position(topic, part, self._end[topic, part] - 1)

    def _produce(self, number: int) -> None:
        part, name = self._random.randrange(_PARTITIONS), f"doc-{number}"
        self._add(Send(process="producer", time=self._now, message=name))
        ack = Ack(
            process="producer",
            time=self._now,
            message=name,
            position=self._place("documents", part),
            content=f"text of {name}",
            characters=100,
        )
        self._add(ack)
        self._documents[part].append(ack)

    def _work(self, worker: str, part: int, *, dies: bool) -> None:
        """Handle what is not committed; a worker that dies does it in the midst."""
        todo = [ack for ack in self._documents[part] if ack.position.offset >= self._committed[part]]
        if dies:
            todo = todo[: self._random.randint(0, len(todo))]
        for ack in todo:
            where = ack.position
            self._add(Poll(process=worker, time=self._now, position=where, content=ack.content))
            self._add(HandlerStart(process=worker, time=self._now, position=where))
        if self._exactly_once:
            self._in_transaction(worker, part, todo, dies=dies)
        else:
            self._side_by_side(worker, part, todo, dies=dies)

    def _side_by_side(self, worker: str, part: int, todo: list[Ack], *, dies: bool) -> None:
        finished: set[Position] = set()
        for ack in self._random.sample(todo, len(todo)):
            self._answer(worker, ack, transaction=None)
            if dies and self._random.random() < 0.2:
                return  # its outcome is there, and nobody knows
            self._handler_end(worker, ack)
            finished.add(ack.position)
            self._commit_prefix(part, todo, finished)
        self._add(
            Report(
                process=worker,
                time=self._now,
                asked=self._now,
                documents=self._handled[worker],
                ready=True,
            )
        )

    def _commit_prefix(self, part: int, todo: list[Ack], finished: set[Position]) -> None:
        offset = self._committed[part]
        for ack in todo:
            if ack.position not in finished:
                break
            offset = ack.position.offset + 1
        if (offset > self._committed[part] and self._random.random() < 0.5) or len(finished) == len(todo):
            self._commit(part, offset, transaction=None)

    def _in_transaction(self, worker: str, part: int, todo: list[Ack], *, dies: bool) -> None:
        transaction = f"{worker}/{part}"
        polls = [self._answer(worker, ack, transaction=transaction) for ack in todo]
        if not todo:
            return
        offset = todo[-1].position.offset + 1
        committed = not (dies and self._random.random() < 0.5)
        self._add(
            TransactionEnd(process=worker, time=self._now, transaction=transaction, committed=committed)
        )
        if committed:
            self._commit(part, offset, transaction=transaction)
            for poll in polls:
                self._add(poll.model_copy(update={"time": self._now}))
            for ack in todo:
                if dies and self._random.random() < 0.2:
                    return  # it is committed, and its worker does not know
                self._handler_end(worker, ack)

    def _answer(self, worker: str, ack: Ack, *, transaction: str | None) -> ReaderPoll:
        """Send an outcome; returns what a reader gets, at once unless there is a transaction."""
        dead = ack.message.endswith("7")
        message = "" if dead else f"event of {ack.message}"
        source = ack.position
        self._add(
            Send(process=worker, time=self._now, message=message, source=source, transaction=transaction)
        )
        where = self._place("dead" if dead else "entities", source.partition)
        content = f"{worker} answers {source}"
        self._add(
            Ack(
                process=worker,
                time=self._now,
                message=message,
                position=where,
                content=content,
                source=source,
                transaction=transaction,
            )
        )
        poll = ReaderPoll(
            process="reader",
            time=self._now,
            position=where,
            content=content,
            kind="dead_letter" if dead else "event",
            message=message,
            key=ack.message[-1],
            source=source,
            echo=ack.content,
            entities=() if dead else (("person", 0, 3, 0.9 + self._random.uniform(-4e-5, 4e-5)),),
            read=((0, 60), (50, 90)),
            unread=((90, 100),),
        )
        if transaction is None:
            self._add(poll)
        return poll

    def _handler_end(self, worker: str, ack: Ack) -> None:
        self._add(HandlerEnd(process=worker, time=self._now, position=ack.position))
        self._handled[worker] += 1

    def _commit(self, part: int, offset: int, *, transaction: str | None) -> None:
        self._committed[part] = offset
        self._add(
            Commit(
                process="broker",
                time=self._now,
                topic="documents",
                partition=part,
                offset=offset,
                transaction=transaction,
            )
        )
