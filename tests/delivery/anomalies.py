"""Anomalies of delivery: one pure function each, from a history to the records that show it.

The list is Jepsen's for Kafka, with our own beside it. A reader is read-committed throughout. At the end of a
history everything has healed and come to rest.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable

from tests.delivery.history import (
    Ack,
    Assignment,
    Commit,
    Entry,
    HandlerEnd,
    HandlerStart,
    History,
    LogEnd,
    Poll,
    Position,
    ReaderPoll,
    Report,
    Send,
    TransactionEnd,
)

Anomaly = Callable[[History], list[Entry]]
_SCORE_TOLERANCE = 1e-4  # float32 on another machine, or beside other documents in the batch
_TRANSACTION_TIMEOUT = 60.0
_STUCK = 60.0


def lost_documents(history: History) -> list[Entry]:
    """Documents before a committed offset that have neither an event nor a dead letter."""
    answered, committed = _answered(history), _committed(history)
    return [ack for ack in _unanswered(history, answered) if ack.position.offset < committed[_lane(ack)]]


def unseen_documents(history: History) -> list[Entry]:
    """Documents behind all committed offsets that have no outcome although everything is at rest."""
    answered, committed = _answered(history), _committed(history)
    return [ack for ack in _unanswered(history, answered) if ack.position.offset >= committed[_lane(ack)]]


def duplicates(history: History) -> list[Entry]:
    """Events whose id a reader got before, and dead letters of one document, from another position."""
    first: dict[tuple[object, ...], Position] = {}
    return [
        outcome
        for outcome in _seen(history, "event", "dead_letter")
        if first.setdefault((outcome.kind, outcome.message or outcome.source), outcome.position)
        != outcome.position
    ]


def double_outcomes(history: History) -> list[Entry]:
    """Dead letters of documents that have an event, too."""
    events = {event.source for event in _seen(history, "event")}
    return [letter for letter in _seen(history, "dead_letter") if letter.source in events]


def aborted_reads(history: History) -> list[Entry]:
    """Messages got by a reader or a worker although their transaction was aborted."""
    ends = _ends(history)
    return [
        poll
        for poll, transaction in _polls_in_transactions(history)
        if transaction in ends and ends[transaction].committed is False
    ]


def precommitted_reads(history: History) -> list[Entry]:
    """Messages got by a reader or a worker before anybody asked for their transaction's commit."""
    ends = _ends(history)
    return [
        poll
        for poll, transaction in _polls_in_transactions(history)
        if transaction not in ends
        or (ends[transaction].committed is not False and poll.time < ends[transaction].time)
    ]


def torn_transactions(history: History) -> list[Entry]:
    """Outcomes of transactions of which one part took effect and another did not.

    Either some outcomes are visible and others are not, or offsets moved without their outcomes, or the
    outcomes are visible and the offsets did not move.
    """
    visible = {poll.position for poll in history.of(ReaderPoll)}
    ends = _ends(history)
    moved: dict[tuple[str, str, int], int] = {}
    for commit in history.of(Commit):
        if commit.transaction is not None:
            moved[commit.transaction, commit.topic, commit.partition] = commit.offset
    took_effect = {transaction for transaction, _, _ in moved}
    torn: list[Entry] = []
    for transaction, outcomes in _outcomes_by_transaction(history).items():
        end = ends.get(transaction)
        if end is not None and end.committed is False and transaction not in took_effect:
            continue
        hidden = [ack for ack in outcomes if ack.position not in visible]
        committed = transaction in took_effect or (end is not None and end.committed)
        if hidden and (len(hidden) < len(outcomes) or committed):
            torn += hidden
        torn += [
            ack
            for ack in outcomes
            if ack.position in visible
            and ack.source is not None
            and moved.get((transaction, ack.source.topic, ack.source.partition), 0) <= ack.source.offset
        ]
    return torn


def commits_past_in_flight(history: History) -> list[Entry]:
    """Commits of an offset before which a document was in flight: fetched, and finished by nobody.

    A document whose outcome is in the commit's own transaction is finished by it.
    """
    together = {
        transaction: {ack.source for ack in outcomes}
        for transaction, outcomes in _outcomes_by_transaction(history).items()
    }
    in_flight: dict[tuple[str, int], set[Position]] = defaultdict(set)
    finished: set[Position] = set()
    early: list[Entry] = []
    for record in history:
        match record:
            case Poll(position=position) | HandlerStart(position=position) if position not in finished:
                in_flight[position[:2]].add(position)
            case HandlerEnd(position=position, given_up=False):
                finished.add(position)
                in_flight[position[:2]].discard(position)
            case Commit(topic=topic, partition=partition, offset=offset, transaction=transaction):
                answered = together.get(transaction or "", set())
                finished |= answered
                in_flight[topic, partition] -= answered
                if any(each.offset < offset for each in in_flight[topic, partition]):
                    early.append(record)
    return early


def stray_commits(history: History) -> list[Entry]:
    """Commits that go back, or that pass over a document that no worker had fetched."""
    documents: dict[tuple[str, int], list[int]] = defaultdict(list)
    for ack in _documents(history):
        documents[_lane(ack)].append(ack.position.offset)
    fetched: set[Position] = set()
    highest: dict[tuple[str, int], int] = defaultdict(int)
    stray: list[Entry] = []
    for record in history:
        match record:
            case Poll(position=position):
                fetched.add(position)
            case Commit(topic=topic, partition=partition, offset=offset):
                lane = topic, partition
                passed = [at for at in documents[lane] if highest[lane] <= at < offset]
                if offset < highest[lane] or any(Position(*lane, at) not in fetched for at in passed):
                    stray.append(record)
                highest[lane] = max(highest[lane], offset)
    return stray


def inconsistent_offsets(history: History) -> list[Entry]:
    """Messages whose position held another message before."""
    first: dict[Position, str] = {}
    return [
        record
        for record in history.of(Ack, Poll, ReaderPoll)
        if first.setdefault(record.position, record.content) != record.content
    ]


def order_inversions(history: History) -> list[Entry]:
    """Outcomes that stand behind the outcome of a later document of the same key; repeats do not count."""
    latest: dict[tuple[object, ...], int] = {}
    answered: set[Position] = set()
    inverted: list[Entry] = []
    for outcome in sorted(_seen(history, "event", "dead_letter"), key=lambda outcome: outcome.position):
        source = outcome.source
        if source is None or source in answered:
            continue
        answered.add(source)
        lane = (*outcome.position[:2], *source[:2], outcome.key)
        if source.offset < latest.get(lane, -1):
            inverted.append(outcome)
        latest[lane] = max(source.offset, latest.get(lane, -1))
    return inverted


def zombie_outputs(history: History) -> list[Entry]:
    """Visible outcomes sent by a worker after the document's partition had gone to another."""
    visible = {poll.position for poll in history.of(ReaderPoll)}
    seen = {(ack.process, ack.message) for ack in history.of(Ack) if ack.position in visible}
    owner: dict[tuple[str, int], str] = {}
    zombies: list[Entry] = []
    for record in history:
        match record:
            case Assignment(process=process, partitions=partitions):
                owner.update(dict.fromkeys(partitions, process))
            case Send(process=process, message=message, source=Position() as source):
                if owner.get(source[:2], process) != process and (process, message) in seen:
                    zombies.append(record)
    return zombies


def hung_transactions(history: History) -> list[Entry]:
    """Ends of logs that a transaction has held up for longer than its time-out."""
    held: dict[tuple[str, int], LogEnd] = {}
    hung: list[Entry] = []
    for at in history.of(LogEnd):
        lane = at.topic, at.partition
        if at.stable >= at.end:
            held.pop(lane, None)
            continue
        if lane not in held or held[lane].stable != at.stable:
            held[lane] = at
        if at.time - held[lane].time > _TRANSACTION_TIMEOUT:
            hung.append(at)
    return hung


def mismatched_outcomes(history: History) -> list[Entry]:
    """Outcomes whose source position holds no document, or another one than they answer."""
    contents = {ack.position: ack.content for ack in _documents(history)}
    contents |= {poll.position: poll.content for poll in _seen(history, "document")}
    return [
        outcome
        for outcome in _seen(history, "event", "dead_letter")
        if outcome.source is None or contents.get(outcome.source) != outcome.echo
    ]


def divergent_repeats(history: History) -> list[Entry]:
    """Events with the id of an earlier one and other entities; scores may differ by a tolerance."""
    first: dict[str, ReaderPoll] = {}
    return [
        event
        for event in _seen(history, "event")
        if not _same_entities(first.setdefault(event.message, event), event)
    ]


def silent_truncations(history: History) -> list[Entry]:
    """Events of documents of which some characters were covered by no window, and are not named unread."""
    length = {ack.position: ack.characters for ack in _documents(history)}
    return [
        event
        for event in _seen(history, "event")
        if event.source in length and _covered((*event.read, *event.unread)) < length[event.source]
    ]


def false_reports(history: History) -> list[Entry]:
    """Reports whose count is not the history's, or that call a worker ready although a document is stuck.

    A document that waited for a model which was away, and said to be, has its time from the end of that on.
    """
    ends: dict[str, list[float]] = defaultdict(list)
    for end in history.of(HandlerEnd):
        if not end.given_up:
            ends[end.process].append(end.time)
    working: dict[tuple[str, Position], float] = {}
    away: dict[str, float] = defaultdict(float)
    false: list[Entry] = []
    for record in history:
        match record:
            case HandlerStart(process=process, position=position, time=time):
                working[process, position] = time
            case HandlerEnd(process=process, position=position):
                working.pop((process, position), None)
            case Report(process=process, time=time, asked=asked, documents=documents, ready=ready):
                known = ends[process]
                lowest, highest = bisect_left(known, asked), bisect_right(known, time)
                if not ready:
                    away[process] = time
                stuck = any(
                    who == process and time - max(since, away[process]) > _STUCK
                    for (who, _), since in working.items()
                )
                if stuck or not lowest <= documents <= highest:
                    false.append(record)
    return false


ALL: tuple[Anomaly, ...] = (
    lost_documents,
    unseen_documents,
    duplicates,
    double_outcomes,
    aborted_reads,
    precommitted_reads,
    torn_transactions,
    commits_past_in_flight,
    stray_commits,
    inconsistent_offsets,
    order_inversions,
    zombie_outputs,
    hung_transactions,
    mismatched_outcomes,
    divergent_repeats,
    silent_truncations,
    false_reports,
)
# At least once: a document that is read again has its outcome again, also from a worker that was frozen; and
# documents are handled side by side, in no order, unless one is in flight at a time.
AT_LEAST_ONCE = tuple(each for each in ALL if each not in {duplicates, order_inversions, zombie_outputs})
AT_LEAST_ONCE_IN_ORDER = (*AT_LEAST_ONCE, order_inversions)


def found(history: History, anomalies: Iterable[Anomaly] = ALL) -> dict[str, list[Entry]]:
    """Offending records by the name of the anomaly; empty for a good history."""
    return {each.__name__: records for each in anomalies if (records := each(history))}


def _lane(ack: Ack) -> tuple[str, int]:
    return ack.position.topic, ack.position.partition


def _documents(history: History) -> list[Ack]:
    """Acknowledged documents, without those of aborted transactions: they were never sent."""
    ends = _ends(history)
    return [
        ack
        for ack in history.of(Ack)
        if ack.source is None
        and (ack.transaction is None or ((end := ends.get(ack.transaction)) is not None and end.committed))
    ]


def _seen(history: History, *kinds: str) -> list[ReaderPoll]:
    return [poll for poll in history.of(ReaderPoll) if poll.kind in kinds]


def _answered(history: History) -> set[Position | None]:
    return {outcome.source for outcome in _seen(history, "event", "dead_letter")}


def _unanswered(history: History, answered: set[Position | None]) -> list[Ack]:
    return [ack for ack in _documents(history) if ack.position not in answered]


def _committed(history: History) -> dict[tuple[str, int], int]:
    """Highest committed offset by partition."""
    committed: dict[tuple[str, int], int] = defaultdict(int)
    for commit in history.of(Commit):
        lane = commit.topic, commit.partition
        committed[lane] = max(committed[lane], commit.offset)
    return committed


def _ends(history: History) -> dict[str, TransactionEnd]:
    return {end.transaction: end for end in history.of(TransactionEnd)}


def _polls_in_transactions(history: History) -> list[tuple[Poll | ReaderPoll, str]]:
    transactions = {ack.position: ack.transaction for ack in history.of(Ack) if ack.transaction is not None}
    return [
        (poll, transactions[poll.position])
        for poll in history.of(Poll, ReaderPoll)
        if poll.position in transactions
    ]


def _outcomes_by_transaction(history: History) -> dict[str, list[Ack]]:
    outcomes: dict[str, list[Ack]] = defaultdict(list)
    for ack in history.of(Ack):
        if ack.transaction is not None and ack.source is not None:
            outcomes[ack.transaction].append(ack)
    return outcomes


def _same_entities(one: ReaderPoll, other: ReaderPoll) -> bool:
    return len(one.entities) == len(other.entities) and all(
        mine[:3] == theirs[:3] and abs(mine[3] - theirs[3]) <= _SCORE_TOLERANCE
        for mine, theirs in zip(sorted(one.entities), sorted(other.entities), strict=True)
    )


def _covered(spans: Iterable[tuple[int, int]]) -> int:
    """Characters from the start on without a gap."""
    covered = 0
    for start, end in sorted(spans):
        if start > covered:
            break
        covered = max(covered, end)
    return covered
