"""Which tokens the next pass reads.

Sequences that share most of their tokens form a group, which is a document with its branches. A pass takes
all rows of one group that can run, and, while it is small and more groups wait than there are threads, those
of further groups: they share the reading of the weights, and pay for columns that their masks hide.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from stream.engine.batch import Batch
from stream.engine.drafts.draft import Proposer
from stream.engine.kv_cache import KvCache
from stream.engine.outcome import Outcome
from stream.engine.prefix_tree import Node, PrefixTree, TokenIds, common_prefix
from stream.engine.sequence import Sequence
from stream.engine.verification import Verified, verify

# A sequence and the first of its group differ, on average, in no more tokens than they share, or in this few.
_FEW_TOKENS = 8


@dataclass(slots=True, eq=False)
class Group:
    """Sequences that are read together.

    Attributes:
        ids: Prompt of its first sequence.
        begun: Whether most of it had been read before it came: a text that is asked more, as a rule.
        sequences: In order of arrival.
        running: Whether a pass over it is on its way; no second one starts until it ends.
    """

    ids: TokenIds
    begun: bool = False
    sequences: dict[Sequence, None] = field(default_factory=dict)
    running: bool = False

    def suits(self, ids: TokenIds) -> bool:
        """Whether a prompt shares enough with this group to be read with it."""
        shared = common_prefix(self.ids, ids)
        return len(self.ids) + len(ids) - 2 * shared <= 2 * max(shared, _FEW_TOKENS)


_MOST_MIXED = 8
# Each token of a mixed pass pays for the columns of all its groups. Where texts had 200 tokens mixing cost a
# tenth of a document's time without this bound, and nothing with it; where they have 40 it saves a third.
_MIXED_COLUMNS = 4
# Passes in a row that may go to groups begun before, over the head of an older one.
_MOST_OVERTAKEN = 8


class Scheduler:
    """Not thread-safe; the decoder's lock guards it.

    Args:
        cache: The pool of keys and values.
        budget: Most new tokens in a pass.
        proposer: Drafts continuations; None: one token a pass.
        draft_tokens: Most drafted tokens a sequence and pass.
        confidence: Probability from which on a drafted token is taken though another is likelier.
        mixed_tokens: A pass with fewer new tokens takes another waiting group in, as long as all are at most
            four times as long together; 0: every group has its own.
        threads: Passes that run at once.

    Attributes:
        tokens_reused: Tokens of sequences that had been read already when their turn came.
        drafted: Tokens drafted, by who proposed them.
        accepted: Those of them that were right.
        unlearned: Finished sequences that the proposer has not heard of yet.
    """

    def __init__(
        self,
        cache: KvCache,
        budget: int,
        proposer: Proposer | None = None,
        *,
        draft_tokens: int = 32,
        confidence: float | None = None,
        mixed_tokens: int = 0,
        threads: int = 1,
    ) -> None:
        self._cache = cache
        self._tree = PrefixTree(cache)
        self._budget = budget
        self._proposer = proposer
        self._draft_tokens = draft_tokens
        self._confidence = confidence
        self._mixed_tokens = mixed_tokens
        self._mixed_columns = _MIXED_COLUMNS * mixed_tokens
        self._threads = threads
        self.tokens_reused = 0
        self.drafted: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.unlearned: list[Sequence] = []
        self._overtaken = 0
        self._groups: dict[Group, None] = {}
        self._by_start: dict[TokenIds, list[Group]] = defaultdict(list)
        self._group_of: dict[Sequence, Group] = {}

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence, in the group it shares a prefix with when there is one."""
        ids = sequence.prompt.ids
        alike = self._by_start[ids[:2]]
        group = next((group for group in alike if group.suits(ids)), None)
        if group is None:
            group = Group(ids, begun=2 * self._tree.known(ids) >= len(ids))
            self._groups[group] = None
            alike.append(group)
        group.sequences[sequence] = None
        self._group_of[sequence] = group

    def remove(self, sequence: Sequence) -> bool:
        """Forget a sequence, finished or not; what was read for it stays for reuse.

        Returns:
            Whether it was still there.
        """
        group = self._group_of.pop(sequence, None)
        if group is None:
            return False
        self._yield_place(sequence)
        del group.sequences[sequence]
        if not (group.sequences or group.running):
            self._forget(group)
        return True

    def schedule(self) -> tuple[list[Group], Batch] | None:
        """The next pass, of the group whose turn it is; None when nothing can run now."""
        waiting = self._in_turn([group for group in self._groups if not group.running])
        for age, group in enumerate(waiting):
            batch = self._compose(self._together(waiting[age:]))
            if group is next(iter(self._groups)) and not batch.readers and self._make_room(group):
                batch = self._compose([group])
            if batch.readers:
                groups = list(dict.fromkeys(self._group_of[sequence] for sequence in batch.readers))
                for each in groups:
                    each.running = True
                return groups, batch
            if self._tree.room(1) == 0:
                # Younger groups wait too: what becomes free is for the older ones.
                return None
        return None

    def accept(self, groups: list[Group], batch: Batch, outcome: Outcome) -> list[Sequence]:
        """Take the outcome of a pass from ``schedule``.

        Returns:
            The sequences that are finished now.
        """
        self._tree.finish_reading(batch.nodes, batch.reading)
        finished = []
        first = len(batch.asked)
        for row, (node, sequences) in enumerate(batch.asked.items()):
            draft = batch.drafts.get(node)
            for sequence in sequences:
                if sequence not in self._group_of:
                    continue
                verified = verify(sequence, outcome, draft, row=row, first=first, confidence=self._confidence)
                self._tell_proposer(sequence, verified, outcome)
                if verified.finished:
                    finished.append(sequence)
                else:
                    self._go_on(sequence, batch, verified, outcome)
            first += len(draft or ())
        self._stop_running(groups, finished)
        if self._proposer is not None:
            self.unlearned += (each for each in finished if each.prompt.max_new_tokens > 1)
        return finished

    def learn(self) -> None:
        """Let later drafts profit from finished answers; apart from ``accept``, for it can wait."""
        if self._proposer is not None:
            for sequence in self.unlearned:
                self._proposer.finish(sequence)
        self.unlearned.clear()

    def fail(self, groups: list[Group], batch: Batch) -> list[Sequence]:
        """Undo a pass that broke.

        Returns:
            The sequences it read for, which are forgotten.
        """
        self._tree.abandon_reading(batch.nodes, batch.reading)
        failed = [sequence for sequence in batch.readers if sequence in self._group_of]
        self._stop_running(groups, failed)
        return failed

    @property
    def groups(self) -> int:
        """How many there are, whether a pass of theirs is on its way or not."""
        return len(self._groups)

    @property
    def idle_groups(self) -> bool:
        """Whether some group has no pass on its way."""
        return any(not group.running for group in self._groups)

    @property
    def running(self) -> bool:
        """Whether some pass is on its way."""
        return any(group.running for group in self._groups)

    @property
    def sequences(self) -> list[Sequence]:
        """All that are queued or in flight, in order of arrival."""
        return list(self._group_of)

    def _in_turn(self, waiting: list[Group]) -> list[Group]:
        """The oldest groups first; but those with a text in the pool before, once they fill shared passes.

        In order of age alone all texts that wait would be read before the first is asked for its mentions. A
        pool that does not hold them all would have dropped it by then, and it would be read again.
        """
        begun = [group for group in waiting if group.begun]
        filled = sum(len(group.ids) for group in begun) >= self._threads * self._mixed_columns
        # Whoever asks the same text again and again must not keep others waiting for ever; and in a full pool
        # only the oldest can make room.
        if not filled or self._overtaken == _MOST_OVERTAKEN or not self._tree.room(1):
            self._overtaken = 0
            return waiting
        self._overtaken += 1
        return begun + [group for group in waiting if not group.begun]

    def _together(self, waiting: list[Group]) -> list[Group]:
        """The groups that may share a pass: as many as are left for each thread, so that none stays idle."""
        if not self._mixed_tokens:
            return waiting[:1]
        return waiting[: min(_MOST_MIXED, -(-len(waiting) // self._threads))]

    def _compose(self, groups: list[Group]) -> Batch:
        batch = Batch()
        budget = self._budget
        # All enter the tree before any is taken, for entering may split a node that another shares.
        ends = [[self._place(sequence) for sequence in group.sequences] for group in groups]
        columns = 0
        for group, its_ends in zip(groups, ends, strict=True):
            columns += max(end.end for end in its_ends)
            full = batch.undrafted >= self._mixed_tokens or columns > self._mixed_columns
            if batch.readers and full:
                break
            for sequence, end in zip(group.sequences, its_ends, strict=True):
                if budget == 0:
                    break
                budget -= self._take(sequence, end, batch, budget)
        if self._proposer is not None and budget:
            self._draft(self._proposer, batch, budget)
        return batch

    def _draft(self, proposer: Proposer, batch: Batch, budget: int) -> None:
        """Draft for the sequences that can use it, with what the others leave of the budget."""
        able = [(end, sequences[0]) for end, sequences in batch.asked.items() if sequences[0].remaining > 1]
        if not able:
            return
        width = min(self._draft_tokens, budget // len(able))
        # The group being composed is not running yet.
        busy = sum(not group.running for group in self._groups) > 1
        for end, sequence in able:
            draft = proposer.propose(sequence, width, busy=busy) if width else None
            if draft is not None:
                batch.drafts[end] = draft
                self.drafted.update(draft.sources)

    def _tell_proposer(self, sequence: Sequence, verified: Verified, outcome: Outcome) -> None:
        draft = verified.draft
        if draft is not None:
            self.accepted.update(draft.sources[index] for index in verified.path)
        if self._proposer is not None and sequence.prompt.max_new_tokens > 1:
            self._proposer.learn(sequence, len(verified.path), verified.following(outcome))

    def _go_on(self, sequence: Sequence, batch: Batch, verified: Verified, outcome: Outcome) -> None:
        """Move a sequence's place behind the tokens it took; keys and values of accepted drafts are kept."""
        node, draft = sequence.node, verified.draft
        assert node is not None, "what was read for has a place"  # noqa: S101 - narrows the type
        if draft is not None and verified.path:
            start = node.end
            node = self._tree.advance(node, tuple(draft.ids[index] for index in verified.path))
            rows = np.array(verified.path) + batch.undrafted + verified.first - len(batch.asked)
            for piece in reversed(_unread(node)):
                above = piece.parent
                if (above is not None and above.being_read) or self._tree.room(len(piece.ids)) < len(
                    piece.ids
                ):
                    break
                slots = self._tree.keep(piece)
                self._cache.write(slots, outcome.new, rows[piece.start - start : piece.end - start])
        sequence.node = self._tree.advance(node, (verified.token,))

    def _place(self, sequence: Sequence) -> Node:
        if sequence.node is None:
            sequence.node = self._tree.insert(sequence.ids)
        return sequence.node

    def _take(self, sequence: Sequence, end: Node, batch: Batch, budget: int) -> int:
        """Add to a pass what a sequence needs read, as far as budget and room go.

        Returns:
            Tokens added.
        """
        unread = _unread(end)
        above = unread[-1].parent if unread else end
        shared = above is not None and above.reading is batch.reading
        if above is not None and above.being_read and not shared:
            return 0
        wanted = sum(len(node.ids) for node in unread)
        taken = self._read(reversed(unread), batch, budget)
        repeated = not unread and not shared
        if repeated and end not in batch.repeats:
            batch.repeat(end)
            taken = 1
        if end.slots is not None:
            batch.asked.setdefault(end, []).append(sequence)
        if taken or shared or repeated:
            batch.readers.append(sequence)
            if not sequence.passes:
                self.tokens_reused += end.end - wanted
        return taken

    def _read(self, nodes: Iterable[Node], batch: Batch, budget: int) -> int:
        """Add nodes, each after its parent, to a pass; the last one that fits may be cut.

        Returns:
            Tokens added.
        """
        taken = 0
        for node in nodes:
            room = self._tree.room(min(len(node.ids), budget - taken))
            if room == 0:
                break
            part = node if room == len(node.ids) else self._tree.split(node, room)
            self._tree.start_reading(part, batch.reading)
            batch.read(part)
            taken += room
        return taken

    def _make_room(self, group: Group) -> bool:
        """Let the youngest sequences give their slots up until a group's first one can go on.

        They start again later; that the oldest always gets on is what keeps a full pool from standing still.
        """
        first = next(iter(group.sequences))
        wanted = min(self._budget, sum(len(node.ids) for node in _unread(self._place(first))))
        for sequence in reversed(self._group_of):
            if self._tree.room(wanted) == wanted:
                break
            if sequence is not first and not self._group_of[sequence].running:
                self._yield_place(sequence)
        return self._tree.room(1) == 1

    def _yield_place(self, sequence: Sequence) -> None:
        if sequence.node is not None:
            self._tree.release(sequence.node)
            sequence.node = None

    def _stop_running(self, groups: list[Group], done: list[Sequence]) -> None:
        for sequence in done:
            self.remove(sequence)
        for group in groups:
            group.running = False
            if not group.sequences:
                self._forget(group)

    def _forget(self, group: Group) -> None:
        del self._groups[group]
        alike = self._by_start[group.ids[:2]]
        alike.remove(group)
        if not alike:
            del self._by_start[group.ids[:2]]


def _unread(end: Node) -> list[Node]:
    """The nodes up to here, upwards, that no pass has read or is reading."""
    return list(takewhile(lambda node: node.slots is None, end.lineage()))
