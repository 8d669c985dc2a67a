"""Which tokens the next pass reads.

Sequences that share most of their tokens form a group, which is a document with its branches. A pass takes
all rows of one group that can run; other groups run at the same time on other threads. Mixing unrelated
sequences in one pass was measured 1.6 to 3.4 times slower on a CPU: each pays for columns its mask hides.
"""

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field
from itertools import takewhile

from stream.engine.batch import Batch
from stream.engine.kv_cache import KvCache
from stream.engine.prefix_tree import Node, PrefixTree, TokenIds, common_prefix
from stream.engine.sequence import Sequence

# A sequence and the first of its group differ, on average, in no more tokens than they share, or in this few.
_FEW_TOKENS = 8


@dataclass(slots=True, eq=False)
class Group:
    """Sequences that are read together.

    Attributes:
        ids: Prompt of its first sequence.
        sequences: In order of arrival.
        running: Whether a pass over it is on its way; no second one starts until it ends.
    """

    ids: TokenIds
    sequences: dict[Sequence, None] = field(default_factory=dict)
    running: bool = False

    def suits(self, ids: TokenIds) -> bool:
        """Whether a prompt shares enough with this group to be read with it."""
        shared = common_prefix(self.ids, ids)
        return len(self.ids) + len(ids) - 2 * shared <= 2 * max(shared, _FEW_TOKENS)


class Scheduler:
    """Not thread-safe; the decoder's lock guards it.

    Args:
        cache: The pool of keys and values.
        budget: Most new tokens in a pass.

    Attributes:
        tokens_reused: Tokens of sequences that had been read already when their turn came.
    """

    def __init__(self, cache: KvCache, budget: int) -> None:
        self._tree = PrefixTree(cache)
        self._budget = budget
        self.tokens_reused = 0
        self._groups: dict[Group, None] = {}
        self._by_start: dict[TokenIds, list[Group]] = defaultdict(list)
        self._group_of: dict[Sequence, Group] = {}

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence, in the group it shares a prefix with when there is one."""
        ids = sequence.prompt.ids
        alike = self._by_start[ids[:2]]
        group = next((group for group in alike if group.suits(ids)), None)
        if group is None:
            group = Group(ids)
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

    def schedule(self) -> tuple[Group, Batch] | None:
        """The next pass, oldest group first; None when nothing can run now."""
        for age, group in enumerate(self._groups):
            if group.running:
                continue
            batch = self._compose(group)
            if age == 0 and not batch.readers and self._make_room(group):
                batch = self._compose(group)
            if batch.readers:
                group.running = True
                return group, batch
            if self._tree.room(1) == 0:
                # Younger groups wait too: what becomes free is for the older ones.
                return None
        return None

    def accept(self, group: Group, batch: Batch, tokens: Rows[int], log_probs: Rows[float]) -> list[Sequence]:
        """Take the outcome of a pass.

        Args:
            group: From ``schedule``.
            batch: From ``schedule``.
            tokens: The chosen token of every row asked for.
            log_probs: Their log-probabilities.

        Returns:
            The sequences that are finished now.
        """
        self._tree.finish_reading(batch.nodes, batch.reading)
        finished = []
        for (node, sequences), token, log_prob in zip(batch.asked.items(), tokens, log_probs, strict=True):
            for sequence in sequences:
                if sequence not in group.sequences:
                    continue
                if sequence.accept(token, log_prob):
                    finished.append(sequence)
                else:
                    sequence.node = self._tree.advance(node, token)
        self._stop_running(group, finished)
        return finished

    def fail(self, group: Group, batch: Batch) -> list[Sequence]:
        """Undo a pass that broke.

        Returns:
            The sequences it read for, which are forgotten.
        """
        self._tree.abandon_reading(batch.nodes, batch.reading)
        failed = [sequence for sequence in batch.readers if sequence in group.sequences]
        self._stop_running(group, failed)
        return failed

    @property
    def idle_groups(self) -> bool:
        """Whether some group has no pass on its way."""
        return any(not group.running for group in self._groups)

    @property
    def sequences(self) -> list[Sequence]:
        """All that are queued or in flight, in order of arrival."""
        return list(self._group_of)

    def _compose(self, group: Group) -> Batch:
        batch = Batch()
        budget = self._budget
        # All enter the tree before any is taken, for entering may split a node that another shares.
        ends = [self._place(sequence) for sequence in group.sequences]
        for sequence, end in zip(group.sequences, ends, strict=True):
            if budget == 0:
                break
            budget -= self._take(sequence, end, batch, budget)
        return batch

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
            batch.repeats[end] = None
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
            batch.nodes[part] = None
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

    def _stop_running(self, group: Group, done: list[Sequence]) -> None:
        for sequence in done:
            self.remove(sequence)
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
