"""The checker on histories: good ones pass, and each kind of bad one is found by its own function."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.anomalies import ALL, AT_LEAST_ONCE, commits_past_in_flight, found
from tests.delivery.history import (
    Ack,
    Assignment,
    Commit,
    HandlerEnd,
    HandlerStart,
    History,
    Journal,
    LogEnd,
    Poll,
    Position,
    ReaderPoll,
    Record,
    Report,
    Send,
    TransactionEnd,
)
from tests.delivery.simulation import Simulation


@given(random=st.randoms(use_true_random=True), documents=st.integers(0, 30))
def test_checker_passes_good_runs_at_least_once(random, documents):
    """Runs in which workers die and nothing else goes wrong show none of the anomalies, but repeats."""
    assert found(Simulation(random, exactly_once=False).run(documents), AT_LEAST_ONCE) == {}


@given(random=st.randoms(use_true_random=True), documents=st.integers(0, 30))
def test_checker_passes_good_runs_exactly_once(random, documents):
    """Runs in transactions show no anomaly at all."""
    assert found(Simulation(random, exactly_once=True).run(documents), ALL) == {}


@given(random=st.randoms(use_true_random=True), documents=st.integers(1, 30), exactly_once=st.booleans())
def test_checker_finds_any_hidden_outcome(random, documents, exactly_once):
    """Whichever document's outcomes are kept from the readers, it and its transaction are found, no other."""
    history = Simulation(random, exactly_once=exactly_once).run(documents)
    hidden = random.choice([ack for ack in history.of(Ack) if ack.source is None])
    seen = History(
        each for each in history if not (isinstance(each, ReaderPoll) and each.source == hidden.position)
    )
    anomalies = found(seen, AT_LEAST_ONCE)
    torn = anomalies.pop("torn_transactions", [])
    assert anomalies == {"lost_documents": [hidden]}
    assert {ack.source for ack in torn} == ({hidden.position} if exactly_once else set())


@given(random=st.randoms(use_true_random=True), documents=st.integers(1, 30))
def test_checker_finds_any_early_commit(random, documents):
    """Whichever handling ends later than the commit of its offset, the commit is found."""
    history = Simulation(random, exactly_once=False).run(documents)
    late = random.choice([*history.of(HandlerEnd)]).position
    delayed = History(
        each.model_copy(update={"time": each.time + 1000})
        if isinstance(each, HandlerEnd) and each.position == late
        else each
        for each in history
    )
    early = found(delayed, [commits_past_in_flight])["commits_past_in_flight"]
    assert all(each.partition == late.partition and each.offset > late.offset for each in early)


@given(random=st.randoms(use_true_random=True))
def test_checker_reads_a_history_back_from_its_journals(random, tmp_path_factory):
    """Journals of several processes are merged in order of time, without a loss."""
    folder = tmp_path_factory.mktemp("journals")
    history = Simulation(random, exactly_once=True).run(10)
    for record in history:
        journal = Journal(folder / f"{record.process}.jsonl")
        journal.append(record)
        journal.close()
    read = History.read(*folder.iterdir())
    assert sorted(map(repr, read)) == sorted(map(repr, history))
    assert [record.time for record in read] == sorted(record.time for record in read)


def test_checker_refuses_a_line_that_is_no_record(tmp_path: Path):
    """A damaged journal is an error, and no shorter history."""
    (tmp_path / "broken.jsonl").write_text('{"type": "commit", "process": "w"}\n')
    with pytest.raises(ValueError, match="validation error"):
        History.read(tmp_path / "broken.jsonl")


def document(offset: int, *, time: float = 0, characters: int = 10, transaction: str | None = None) -> Ack:
    """A document of ten characters in partition 0."""
    return Ack(
        process="producer",
        time=time,
        message=f"doc-{offset}",
        position=Position("documents", 0, offset),
        content=f"text {offset}",
        characters=characters,
        transaction=transaction,
    )


def poll(offset: int, *, time: float = 1, worker: str = "w1") -> Poll:
    """A fetch of a document."""
    return Poll(process=worker, time=time, position=("documents", 0, offset), content=f"text {offset}")


def start(offset: int, *, time: float = 1, worker: str = "w1") -> HandlerStart:
    """A start of the work on a document."""
    return HandlerStart(process=worker, time=time, position=("documents", 0, offset))


def end(offset: int, *, time: float = 2, worker: str = "w1") -> HandlerEnd:
    """An end of the work on a document."""
    return HandlerEnd(process=worker, time=time, position=("documents", 0, offset))


def commit(offset: int, *, time: float = 3, transaction: str | None = None) -> Commit:
    """A commit of the first offsets of partition 0."""
    return Commit(
        process="broker", time=time, topic="documents", partition=0, offset=offset, transaction=transaction
    )


def sent(offset: int, *, at: int, time: float = 2, worker: str = "w1", transaction: str | None = None):
    """An outcome of a document, sent and acknowledged."""
    source = Position("documents", 0, offset)
    message = f"event {offset}"
    where = Position("entities", 0, at)
    return (
        Send(process=worker, time=time, message=message, source=source, transaction=transaction),
        Ack(
            process=worker,
            time=time,
            message=message,
            position=where,
            content=f"{message} at {at}",
            source=source,
            transaction=transaction,
        ),
    )


def seen(offset: int, *, at: int, time: float = 4, **changes: object) -> ReaderPoll:
    """An event of a document that the reader got."""
    fields = {
        "process": "reader",
        "time": time,
        "position": ("entities", 0, at),
        "content": f"event {offset} at {at}",
        "kind": "event",
        "message": f"event {offset}",
        "key": "key",
        "source": ("documents", 0, offset),
        "echo": f"text {offset}",
        "entities": (("person", 0, 3, 0.9),),
        "read": ((0, 10),),
    }
    return ReaderPoll.model_validate({**fields, **changes})


def handled(*offsets: int) -> list[Record]:
    """Documents that are sent, fetched and finished."""
    return [each for at in offsets for each in (document(at), poll(at), start(at), end(at))]


def ended(transaction: str, *, time: float = 3, committed: bool | None = True) -> TransactionEnd:
    """An end of a transaction."""
    return TransactionEnd(process="w1", time=time, transaction=transaction, committed=committed)


def assigned(worker: str, generation: int, *, time: float) -> Assignment:
    """An assignment of partition 0."""
    return Assignment(process=worker, time=time, generation=generation, partitions=(("documents", 0),))


def report(*, time: float, documents: int, ready: bool = True) -> Report:
    """A report of worker w1."""
    return Report(process="w1", time=time, asked=time, documents=documents, ready=ready)


def log_end(*, time: float, stable: int, end: int) -> LogEnd:
    """An end of the entities' log."""
    return LogEnd(process="reader", time=time, topic="entities", partition=0, stable=stable, end=end)


# Name of the bad run: its records, and the anomalies it shows with the indices of the offending records.
BAD: dict[str, tuple[list[Record], dict[str, list[int]]]] = {
    "a finished document without an outcome, committed": (
        [*handled(0, 1), seen(0, at=0), commit(2)],
        {"lost_documents": [4]},
    ),
    "a document that nobody fetched, passed over and lost": (
        [*handled(0), document(1), *handled(2), seen(0, at=0), seen(2, at=1), commit(3)],
        {"lost_documents": [4], "stray_commits": [11]},
    ),
    "a document in flight for ever": (
        [*handled(0), document(1), poll(1), start(1), seen(0, at=0), commit(1)],
        {"unseen_documents": [4]},
    ),
    "a document that nobody fetched": (
        [*handled(0), document(1), seen(0, at=0), commit(1)],
        {"unseen_documents": [4]},
    ),
    "an event twice": (
        [*handled(0), seen(0, at=0), seen(0, at=1, content="event 0 at 1"), commit(1)],
        {"duplicates": [5]},
    ),
    "an event and a dead letter": (
        [
            *handled(0),
            seen(0, at=0),
            seen(0, at=0, position=("dead", 0, 0), kind="dead_letter", message=""),
            commit(1),
        ],
        {"double_outcomes": [5]},
    ),
    "two dead letters of one document": (
        [
            *handled(0),
            *(seen(0, at=0, position=("dead", 0, at), kind="dead_letter", message="") for at in range(2)),
            commit(1),
        ],
        {"duplicates": [5]},
    ),
    "an event of an aborted transaction": (
        [
            *handled(0),
            *sent(0, at=0, transaction="t"),
            ended("t", committed=False),
            seen(0, at=0),
        ],
        {"aborted_reads": [7]},
    ),
    "a document of an aborted transaction, fetched": (
        [document(0, transaction="up"), ended("up", time=1, committed=False), poll(0, time=2)],
        {"aborted_reads": [2]},
    ),
    "an event of a transaction before its commit": (
        [
            *handled(0),
            *sent(0, at=0, transaction="t"),
            seen(0, at=0, time=2.5),
            ended("t", time=3),
            commit(1, time=3.5, transaction="t"),
        ],
        {"precommitted_reads": [6]},
    ),
    "an event of a transaction that nobody ended": (
        [
            *handled(0),
            *sent(0, at=0, transaction="t"),
            commit(1, transaction="t"),
            seen(0, at=0),
        ],
        {"precommitted_reads": [7]},
    ),
    "half of a transaction's events": (
        [
            *handled(0, 1),
            *sent(0, at=0, transaction="t"),
            *sent(1, at=1, transaction="t"),
            ended("t"),
            commit(2, time=3.5, transaction="t"),
            seen(0, at=0),
        ],
        {"torn_transactions": [11], "lost_documents": [4]},
    ),
    "a transaction's events, and its offsets did not move": (
        [*handled(0), *sent(0, at=0, transaction="t"), ended("t"), seen(0, at=0)],
        {"torn_transactions": [5]},
    ),
    "a transaction's offsets moved, without its events, which came again": (
        [
            *handled(0),
            *sent(0, at=0, transaction="t"),
            ended("t"),
            commit(1, time=3.5, transaction="t"),
            *sent(0, at=1, time=4, transaction="u"),
            ended("u", time=5),
            commit(1, time=5.5, transaction="u"),
            seen(0, at=1, time=6),
        ],
        {"torn_transactions": [5]},
    ),
    "an aborted transaction's offsets moved, and its events came again": (
        [
            *handled(0),
            *sent(0, at=0, transaction="t"),
            ended("t", committed=False),
            commit(1, time=3.5, transaction="t"),
            *sent(0, at=1, time=4, transaction="u"),
            ended("u", time=5),
            commit(1, time=5.5, transaction="u"),
            seen(0, at=1, time=6),
        ],
        {"torn_transactions": [5]},
    ),
    "a transaction's commit over a document whose outcome is in no transaction": (
        [
            *handled(0),
            document(1),
            poll(1),
            *sent(0, at=0, transaction="t"),
            ended("t"),
            commit(2, time=3.5, transaction="t"),
            seen(0, at=0),
            end(1, time=5),
            seen(1, at=1, time=6),
        ],
        {"commits_past_in_flight": [9]},
    ),
    "a commit while the first document is in flight": (
        [
            document(0),
            poll(0),
            start(0),
            *handled(1),
            commit(2),
            end(0, time=4),
            seen(0, at=1, time=5),
            seen(1, at=0, key="other"),
        ],
        {"commits_past_in_flight": [7]},
    ),
    "a commit of a document that its worker gave up": (
        [
            document(0),
            poll(0),
            start(0),
            HandlerEnd(process="w1", time=2, position=("documents", 0, 0), given_up=True),
            report(time=2.5, documents=0),
            commit(1),
            end(0, time=4, worker="w2"),
            seen(0, at=0, time=5),
        ],
        {"commits_past_in_flight": [5]},
    ),
    "a commit before a fetched document has begun": (
        [
            document(0),
            poll(0),
            commit(1, time=1.5),
            start(0, time=2),
            end(0, time=3),
            seen(0, at=0),
        ],
        {"commits_past_in_flight": [2]},
    ),
    "a commit that goes back": (
        [*handled(0, 1), seen(0, at=0), seen(1, at=1), commit(2), commit(1, time=4)],
        {"stray_commits": [11]},
    ),
    "a commit over a document that comes later": (
        [
            *handled(0),
            document(1),
            commit(2),
            poll(1, time=4),
            start(1, time=4),
            end(1, time=5),
            seen(0, at=0),
            seen(1, at=1, time=6),
        ],
        {"stray_commits": [5]},
    ),
    "two messages at one position": (
        [*handled(0), seen(0, at=0), commit(1), seen(0, at=0, time=5, content="event 0, other bytes")],
        {"inconsistent_offsets": [6]},
    ),
    "two events of a key in the wrong order": (
        [*handled(0, 1), seen(1, at=0), seen(0, at=1), commit(2)],
        {"order_inversions": [9]},
    ),
    "an event of a worker that had lost the partition": (
        [
            assigned("w1", 1, time=0.5),
            *handled(0),
            assigned("w2", 2, time=1.5),
            *sent(0, at=0, time=2, worker="w1"),
            seen(0, at=0),
            commit(1),
        ],
        {"zombie_outputs": [6]},
    ),
    "a transaction that holds readers up": (
        [
            log_end(time=0, stable=3, end=5),
            log_end(time=59, stable=3, end=9),
            log_end(time=61, stable=3, end=9),
        ],
        {"hung_transactions": [2]},
    ),
    "an event from nowhere": (
        [*handled(0), seen(0, at=0), seen(5, at=1), commit(1)],
        {"mismatched_outcomes": [5]},
    ),
    "an event with the answer to another document": (
        [*handled(0, 1), seen(0, at=0), seen(1, at=1, echo="text 0"), commit(2)],
        {"mismatched_outcomes": [9]},
    ),
    "a repeat with another entity": (
        [*handled(0), seen(0, at=0), seen(0, at=1, entities=(("place", 0, 3, 0.9),)), commit(1)],
        {"duplicates": [5], "divergent_repeats": [5]},
    ),
    "a repeat with another score": (
        [*handled(0), seen(0, at=0), seen(0, at=1, entities=(("person", 0, 3, 0.9002),)), commit(1)],
        {"duplicates": [5], "divergent_repeats": [5]},
    ),
    "an event over half of the text": (
        [*handled(0), seen(0, at=0, read=((0, 4), (5, 10))), commit(1)],
        {"silent_truncations": [4]},
    ),
    "a counter ahead of the documents": (
        [*handled(0), seen(0, at=0), commit(1), report(time=5, documents=2)],
        {"false_reports": [6]},
    ),
    "a counter behind the documents": (
        [*handled(0), seen(0, at=0), commit(1), report(time=5, documents=0)],
        {"false_reports": [6]},
    ),
    "ready with a document that is stuck": (
        [
            document(0),
            poll(0),
            start(0),
            report(time=50, documents=0),
            report(time=70, documents=0, ready=False),
            report(time=80, documents=0),
            report(time=140, documents=0),
            end(0, time=150),
            seen(0, at=0, time=151),
            commit(1, time=152),
        ],
        {"false_reports": [6]},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_checker_finds_each_bad_run_by_its_own_function(name):
    """A bad run is found by the functions of its anomalies, with the offending records, and by no other."""
    records, expected = BAD[name]
    assert found(History(records)) == {
        anomaly: [records[index] for index in indices] for anomaly, indices in expected.items()
    }


@pytest.mark.parametrize("anomaly", ALL, ids=lambda anomaly: anomaly.__name__)
def test_checker_has_a_bad_run_for_each_anomaly(anomaly: Callable[..., object]):
    """No function of the checker is without a run that shows it to find something."""
    assert anomaly.__name__ in {name for _, expected in BAD.values() for name in expected}
    assert len(ALL) == 17
