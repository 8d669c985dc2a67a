"""The tokens of the next pass.

A pass computes one group of sequences that share a text. Small passes are batched with other waiting groups:
weights are loaded once, at the cost of masked-out columns.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from stream.engine.batch import Batch
from stream.engine.drafts.draft import Proposer
from stream.engine.forward import PassOutput
from stream.engine.kv_cache import KvCache
from stream.engine.prefix_tree import Node, PrefixTree, TokenIds
from stream.engine.sequence import Group, Sequence
from stream.engine.verification import Verified, Verifier

_MAX_GROUPS = 8
# Each token of a shared pass pays for the columns of all its groups. With texts of 200 tokens, sharing cost a
# tenth of a document's time without this bound, and nothing with it; with 40 tokens it saves a third.
_COLUMNS_PER_TOKEN = 4
# Maximum consecutive passes that cached groups may take ahead of an older group (starvation bound).
_MAX_OVERTAKES = 8


@dataclass(slots=True)
class Counts:
    """Totals over all passes.

    Attributes:
        passes: Forward passes.
        computed: Tokens that went through the model.
        reused: Prompt tokens that were cached before their sequence's first pass.
        produced: Tokens of finished answers.
        drafted: Drafted tokens, by drafter.
        accepted: Accepted ones among them, by drafter.
    """

    passes: int = 0
    computed: int = 0
    reused: int = 0
    produced: int = 0
    drafted: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)


class Scheduler:
    """Not thread-safe; the decoder's lock guards it.

    Args:
        cache: The KV cache.
        budget: Maximum number of new tokens in a pass.
        proposer: Drafts continuations; None: one token per pass.
        verifier: Accepts drafted tokens.
        draft_tokens: Maximum number of drafted tokens per sequence and pass.
        small_pass: A pass with fewer new tokens is shared with further waiting groups, as long as all of them
            together have at most four times as many tokens; 0: passes are never shared.
        threads: Passes that run at once.

    Attributes:
        counts: Totals so far.
        unlearned: Finished sequences that the proposer has not learned from yet.
    """

    def __init__(
        self,
        cache: KvCache,
        budget: int,
        proposer: Proposer | None = None,
        *,
        verifier: Verifier | None = None,
        draft_tokens: int = 32,
        small_pass: int = 0,
        threads: int = 1,
    ) -> None:
        self._cache = cache
        self._tree = PrefixTree(cache)
        self._budget = budget
        self._proposer = proposer
        self._verifier = verifier or Verifier()
        self._draft_tokens = draft_tokens
        self._small_pass = small_pass
        self._max_columns = _COLUMNS_PER_TOKEN * small_pass
        self._threads = threads
        self.counts = Counts()
        self.unlearned: list[Sequence] = []
        self._overtakes = 0
        # In order of arrival, by their ids.
        self._groups: dict[TokenIds, Group] = {}
        self._sorted_ids: list[TokenIds] = []
        self._group_of: dict[Sequence, Group] = {}

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence, in the group it shares a prefix with if there is one."""
        ids = sequence.prompt.ids
        group = self._suitable(ids)
        if group is None:
            group = Group(ids, cached=2 * self._tree.cached_prefix(ids) >= len(ids))
            self._groups[ids] = group
            insort(self._sorted_ids, ids)
        group.sequences[sequence] = None
        self._group_of[sequence] = group

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence, finished or not, if it is still present; its cached tokens stay for reuse."""
        group = self._group_of.pop(sequence, None)
        if group is None:
            return
        self._release(sequence)
        del group.sequences[sequence]
        if not (group.sequences or group.running):
            self._remove_group(group)

    def schedule(self) -> Batch | None:
        """The next pass; None when nothing can run now."""
        waiting = self._by_priority([group for group in self._groups.values() if not group.running])
        for rank, group in enumerate(waiting):
            batch = self._compose(self._batchable(waiting[rank:]))
            if group is self._oldest and not batch.sequences and self._preempt_for(group):
                batch = self._compose([group])
            if batch.sequences:
                batch.groups = list(dict.fromkeys(self._group_of[sequence] for sequence in batch.sequences))
                for each in batch.groups:
                    each.running = True
                return batch
            if self._tree.make_available(1) == 0:
                # The next free slots are for the older groups, so younger ones wait too.
                return None
        return None

    def accept(self, batch: Batch, output: PassOutput) -> list[Sequence]:
        """Take the output of a pass from ``schedule``.

        Returns:
            The sequences that are finished now.
        """
        self._tree.commit(batch.nodes, batch.mark)
        for sequence in batch.sequences:
            sequence.passes += 1
        finished = []
        first = len(batch.outputs)
        for row, (node, sequences) in enumerate(batch.outputs.items()):
            draft = batch.drafts.get(node)
            for sequence in sequences:
                if sequence not in self._group_of:
                    continue
                verified = self._verifier.verify(sequence, output, draft, row=row, first=first)
                if draft is not None:
                    self.counts.accepted.update(draft.sources[index] for index in verified.path)
                if verified.finished:
                    finished.append(sequence)
                else:
                    self._advance(sequence, batch, verified, output)
            first += len(draft or ())
        self.counts.passes += 1
        self.counts.computed += batch.tokens
        self.counts.produced += sum(len(sequence.produced) for sequence in finished)
        self._end_pass(batch, finished)
        if self._proposer is not None:
            self.unlearned += (each for each in finished if each.prompt.max_new_tokens > 1)
        return finished

    def learn(self) -> None:
        """Let the proposer learn from finished sequences; separate from ``accept`` because it can wait."""
        if self._proposer is not None:
            for sequence in self.unlearned:
                self._proposer.learn(sequence)
        self.unlearned.clear()

    def fail(self, batch: Batch) -> list[Sequence]:
        """Undo a pass that failed.

        Returns:
            Its sequences, which are removed.
        """
        self._tree.roll_back(batch.nodes, batch.mark)
        failed = [sequence for sequence in batch.sequences if sequence in self._group_of]
        self._end_pass(batch, failed)
        return failed

    @property
    def single_group(self) -> bool:
        """True if there is only one group, waiting or running."""
        return len(self._groups) == 1

    @property
    def waiting(self) -> bool:
        """True if some group has no pass in flight."""
        return any(not group.running for group in self._groups.values())

    @property
    def running(self) -> bool:
        """True if some pass is in flight."""
        return any(group.running for group in self._groups.values())

    @property
    def sequences(self) -> list[Sequence]:
        """All sequences, queued or in flight, in order of arrival."""
        return list(self._group_of)

    @property
    def _oldest(self) -> Group:
        return next(iter(self._groups.values()))

    def _suitable(self, ids: TokenIds) -> Group | None:
        """The group to compute a prompt with.

        Its neighbours in the order of ids share the longest prefix with it, so no other group is looked at.
        """
        at = bisect_left(self._sorted_ids, ids)
        neighbours = (self._groups[each] for each in self._sorted_ids[max(0, at - 1) : at + 1])
        return next((group for group in neighbours if group.suits(ids)), None)

    def _by_priority(self, waiting: list[Group]) -> list[Group]:
        """The oldest groups first, except that cached groups go ahead once they fill shared passes.

        By age alone, every waiting text would be prefilled before the first one's mentions are asked for. If
        the KV cache cannot hold them all, that text would be evicted by then and prefilled again.
        """
        cached = [group for group in waiting if group.cached]
        filled = sum(len(group.ids) for group in cached) >= self._threads * self._max_columns
        # The bound keeps repeated prompts over one text from starving others. In a full cache only the oldest
        # group can preempt.
        if not filled or self._overtakes == _MAX_OVERTAKES or not self._tree.make_available(1):
            self._overtakes = 0
            return waiting
        self._overtakes += 1
        return cached + [group for group in waiting if not group.cached]

    def _batchable(self, waiting: list[Group]) -> list[Group]:
        """The groups that may share a pass, so many that each thread gets its part of those waiting."""
        if not self._small_pass:
            return waiting[:1]
        return waiting[: min(_MAX_GROUPS, -(-len(waiting) // self._threads))]

    def _compose(self, groups: list[Group]) -> Batch:
        batch = Batch()
        budget = self._budget
        # All enter the tree before any is added, since an insertion may split a node that another shares.
        ends = [[self._place(sequence) for sequence in group.sequences] for group in groups]
        columns = 0
        for group, its_ends in zip(groups, ends, strict=True):
            columns += max(end.end for end in its_ends)
            full = batch.undrafted >= self._small_pass or columns > self._max_columns
            if batch.sequences and full:
                break
            for sequence, end in zip(group.sequences, its_ends, strict=True):
                if budget == 0:
                    break
                budget -= self._add_to(batch, sequence, end, budget)
        if self._proposer is not None and budget:
            self._draft(self._proposer, batch, budget)
        return batch

    def _draft(self, proposer: Proposer, batch: Batch, budget: int) -> None:
        """Spend the rest of the budget on drafts, in equal parts."""
        able = [(end, sequences[0]) for end, sequences in batch.outputs.items() if sequences[0].remaining > 1]
        if not able:
            return
        width = min(self._draft_tokens, budget // len(able))
        # The group being composed is not running yet.
        busy = sum(not group.running for group in self._groups.values()) > 1
        for end, sequence in able:
            draft = proposer.propose(sequence, width, busy=busy) if width else None
            if draft is not None:
                batch.drafts[end] = draft
                self.counts.drafted.update(draft.sources)

    def _advance(self, sequence: Sequence, batch: Batch, verified: Verified, output: PassOutput) -> None:
        """Move a sequence's end after its new tokens; keys and values of accepted drafts are cached."""
        node, draft = sequence.node, verified.draft
        assert node is not None, "a sequence in a pass has a node"  # noqa: S101 - narrows the type
        if draft is not None and verified.path:
            start = node.end
            node = self._tree.advance(node, tuple(draft.ids[index] for index in verified.path))
            rows = np.array(verified.path) + batch.undrafted + verified.first - len(batch.outputs)
            for piece in reversed(_uncached(node)):
                above = piece.parent
                if above is not None and above.computing:
                    break
                if self._tree.make_available(len(piece.ids)) < len(piece.ids):
                    break
                slots = self._tree.allocate(piece)
                self._cache.write(slots, output.new, rows[piece.start - start : piece.end - start])
        sequence.node = self._tree.advance(node, (verified.token,))

    def _place(self, sequence: Sequence) -> Node:
        if sequence.node is None:
            sequence.node = self._tree.insert(sequence.ids)
        return sequence.node

    def _add_to(self, batch: Batch, sequence: Sequence, end: Node, budget: int) -> int:
        """Add a sequence's uncached tokens to a pass, as far as budget and free slots go.

        Returns:
            Tokens added.
        """
        uncached = _uncached(end)
        above = uncached[-1].parent if uncached else end
        shared = above is not None and above.mark is batch.mark
        if above is not None and above.computing and not shared:
            return 0
        wanted = sum(len(node.ids) for node in uncached)
        added = self._prefill(batch, reversed(uncached), budget)
        recomputed = not uncached and not shared
        if recomputed and end not in batch.recomputed:
            batch.recompute(end)
            added = 1
        if end.slots is not None:
            batch.outputs.setdefault(end, []).append(sequence)
        if added or shared or recomputed:
            batch.sequences.append(sequence)
            if not sequence.passes:
                self.counts.reused += end.end - wanted
        return added

    def _prefill(self, batch: Batch, nodes: Iterable[Node], budget: int) -> int:
        """Add nodes, each after its parent, to a pass; the last one that fits may be split.

        Returns:
            Tokens added.
        """
        added = 0
        for node in nodes:
            available = self._tree.make_available(min(len(node.ids), budget - added))
            if available == 0:
                break
            part = node if available == len(node.ids) else self._tree.split(node, available)
            self._tree.allocate(part, batch.mark)
            batch.prefill(part)
            added += available
        return added

    def _preempt_for(self, group: Group) -> bool:
        """Preempt the youngest sequences until a group's first one can run.

        They start again later. The oldest always progresses, so a full KV cache cannot deadlock.
        """
        first = next(iter(group.sequences))
        wanted = min(self._budget, sum(len(node.ids) for node in _uncached(self._place(first))))
        for sequence in reversed(self._group_of):
            if self._tree.make_available(wanted) == wanted:
                break
            if sequence is not first and not self._group_of[sequence].running:
                self._release(sequence)
        return self._tree.make_available(1) == 1

    def _release(self, sequence: Sequence) -> None:
        if sequence.node is not None:
            self._tree.release(sequence.node)
            sequence.node = None

    def _end_pass(self, batch: Batch, done: list[Sequence]) -> None:
        for sequence in done:
            self.remove(sequence)
        for group in batch.groups:
            group.running = False
            if not group.sequences:
                self._remove_group(group)

    def _remove_group(self, group: Group) -> None:
        del self._groups[group.ids]
        del self._sorted_ids[bisect_left(self._sorted_ids, group.ids)]


def _uncached(end: Node) -> list[Node]:
    """This node and its ancestors, upwards, up to the first that is cached or being computed."""
    return list(takewhile(lambda node: node.slots is None, end.lineage()))
