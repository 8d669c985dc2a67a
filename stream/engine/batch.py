"""One forward pass: the tokens to compute, their positions, and the tree attention mask."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.engine.drafts.draft import Draft
from stream.engine.kv_cache import SlotArray
from stream.engine.model.checkpoint import FloatArray
from stream.engine.prefix_tree import Node, PassMark
from stream.engine.sequence import Group, Sequence

# Not minus infinity: a row that attends to nothing would become NaN.
_MASKED = np.float32(-1e9)

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Feed:
    """The arrays of a pass over N new tokens, P cached ones and R rows of logits.

    Attributes:
        ids: (1, N).
        positions: (1, N).
        past: (1, P), slots of the cached tokens.
        mask: (N, P + N), 0 where a token attends to another, a large negative number elsewhere.
        rows: (R), indices of the new tokens whose logits are computed.
        slots: Slots of the first new tokens; keys and values of the others are not stored.
    """

    ids: IntArray
    positions: IntArray
    past: IntArray
    mask: FloatArray
    rows: IntArray
    slots: SlotArray


@dataclass(slots=True, eq=False)
class Batch:
    """Tokens of one tree that one pass computes.

    Attributes:
        groups: The groups of ``sequences``; their next pass waits for this one.
        sequences: Sequences that the pass computes tokens for, whether or not it reaches their end.
        nodes: Nodes to prefill, each after its parent.
        recomputed: Cached nodes whose last token is computed again for its logits; the copy is not stored.
        outputs: Nodes whose last token needs logits, in the order of the rows, each with the sequences that
            take their next token from it.
        drafts: Continuations of ``outputs`` to verify. Each of their tokens has a row of logits, after the
            rows of all nodes; none is stored.
        undrafted: New tokens outside drafts; they come first.
    """

    mark: PassMark = field(default_factory=PassMark)
    groups: list[Group] = field(default_factory=list)
    sequences: list[Sequence] = field(default_factory=list)
    nodes: dict[Node, None] = field(default_factory=dict)
    recomputed: dict[Node, None] = field(default_factory=dict)
    outputs: dict[Node, list[Sequence]] = field(default_factory=dict)
    drafts: dict[Node, Draft] = field(default_factory=dict)
    # Counted on arrival, since nodes may be split while the pass is in flight.
    undrafted: int = 0

    @property
    def tokens(self) -> int:
        """Number of new tokens."""
        return self.undrafted + self.drafted

    @property
    def drafted(self) -> int:
        """Number of drafted tokens."""
        return sum(map(len, self.drafts.values()))

    def prefill(self, node: Node) -> None:
        """Add a node to compute and store, after its parent."""
        self.nodes[node] = None
        self.undrafted += len(node.ids)

    def recompute(self, node: Node) -> None:
        """Add the last token of a cached node."""
        if node not in self.recomputed:
            self.recomputed[node] = None
            self.undrafted += 1

    def feed(self) -> Feed:
        """Build the arrays.

        Columns are grouped by node: the mask is a small node-by-node table, repeated for each token and cut
        by position within the nodes.
        """
        own, recomputed, drafted = list(self.nodes), list(self.recomputed), list(self.drafts)
        lineages = _lineages(own, [*recomputed, *drafted])
        past = list(dict.fromkeys(node for lineage in lineages for node in lineage if node not in self.nodes))
        column = {node: index for index, node in enumerate((*past, *own))}
        new = len(lineages)
        attends = np.zeros((new, len(past) + new), np.bool_)
        for row, lineage in enumerate(lineages):
            attends[row, [column[node] for node in lineage]] = True
        attends[np.arange(new), np.arange(len(past), len(past) + new)] = True

        lengths = np.array(
            [len(node.ids) for node in (*past, *own)]
            + [1] * len(recomputed)
            + list(map(len, self.drafts.values()))
        )
        starts = np.array(
            [node.start for node in (*past, *own)]
            + [node.end - 1 for node in recomputed]
            + [node.end for node in drafted]
        )
        ends = np.cumsum(lengths)
        total = int(ends[-1])
        positions = np.arange(total) + np.repeat(starts - ends + lengths, lengths)
        cached = total - int(lengths[len(past) :].sum())
        row_positions = positions[cached:]
        # Only later positions attend to a cached token, so a recomputed token skips its own cached copy.
        positions[:cached] += 1
        visible = np.repeat(np.repeat(attends, lengths[len(past) :], axis=0), lengths, axis=1)
        visible &= positions <= row_positions[:, None]
        last = ends[len(past) :] - cached - 1
        first_draft = self.undrafted
        at = first_draft
        for node, draft in self.drafts.items():
            block = slice(at, at + len(draft))
            row_positions[block] = [node.end + depth for depth in draft.depths]
            visible[block, cached + at : cached + at + len(draft)] = draft.mask
            at += len(draft)

        row_of = {node: last[index] for index, node in enumerate((*own, *recomputed))}
        ids = [token for node in own for token in node.ids] + [node.ids[-1] for node in recomputed]
        ids += [token for draft in self.drafts.values() for token in draft.ids]
        return Feed(
            ids=np.array(ids, np.int64)[None],
            positions=row_positions[None],
            past=_slots(past)[None],
            mask=np.where(visible, np.float32(0), _MASKED),
            rows=np.array([*(row_of[node] for node in self.outputs), *range(first_draft, at)], np.int64),
            slots=_slots(own),
        )


def _lineages(own: list[Node], others: list[Node]) -> list[list[Node]]:
    """Ancestors of each own node; of the others, which stand for later tokens, with the node itself."""
    known: dict[Node, list[Node]] = {}

    def before(node: Node) -> list[Node]:
        parent = node.parent
        if parent is None or parent.parent is None:
            return []
        if parent not in known:
            known[parent] = [*before(parent), parent]
        return known[parent]

    return [before(node) for node in own] + [[*before(node), node] for node in others]


def _slots(nodes: list[Node]) -> SlotArray:
    parts = [node.slots for node in nodes if node.slots is not None]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
