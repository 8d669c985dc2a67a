"""One forward pass: the tokens to read, where each stands, and what each may see."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.engine.drafts.draft import Draft
from stream.engine.kv_cache import SlotArray
from stream.engine.model.checkpoint import FloatArray
from stream.engine.prefix_tree import Node, Reading
from stream.engine.sequence import Sequence

# Not minus infinity: a row that saw nothing would become NaN.
_HIDDEN = np.float32(-1e9)

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Feed:
    """The arrays of a pass over N new tokens, P cached ones and R rows asked for.

    Attributes:
        ids: (1, N).
        positions: (1, N).
        past: (1, P), slots of the cached tokens.
        mask: (N, P + N), 0 where a token sees another, a large negative number elsewhere.
        rows: (R), indices of new tokens.
        slots: Slots of the new tokens that are kept; the others, at the end, are not.
    """

    ids: IntArray
    positions: IntArray
    past: IntArray
    mask: FloatArray
    rows: IntArray
    slots: SlotArray


@dataclass(slots=True, eq=False)
class Batch:
    """Rows of one tree that are read together.

    Attributes:
        nodes: Nodes to read, each after its parent.
        repeats: Read nodes whose last token is computed once more for its logits; that copy is not kept.
        asked: Nodes whose last token's logits are asked for, in the order of the rows, each with the
            sequences that take their next token from it.
        drafts: Continuations of nodes asked for, to be verified; every token of theirs has a row of logits,
            after the rows of all nodes, and none is kept.
        undrafted: New tokens that are no drafts; they come first.
        readers: Sequences that this pass reads for, whether or not it reaches their end.
    """

    reading: Reading = field(default_factory=Reading)
    nodes: dict[Node, None] = field(default_factory=dict)
    repeats: dict[Node, None] = field(default_factory=dict)
    asked: dict[Node, list[Sequence]] = field(default_factory=dict)
    drafts: dict[Node, Draft] = field(default_factory=dict)
    readers: list[Sequence] = field(default_factory=list)
    # Counted as they come, for nodes may be split while the pass is on its way.
    undrafted: int = 0

    @property
    def tokens(self) -> int:
        """New tokens in this pass."""
        return self.undrafted + self.drafted

    @property
    def drafted(self) -> int:
        """Tokens of drafts."""
        return sum(map(len, self.drafts.values()))

    def read(self, node: Node) -> None:
        """Have a node read, after its parent."""
        self.nodes[node] = None
        self.undrafted += len(node.ids)

    def repeat(self, node: Node) -> None:
        """Have a read node's last token computed once more."""
        if node not in self.repeats:
            self.repeats[node] = None
            self.undrafted += 1

    def feed(self) -> Feed:
        """Lay the pass out as arrays.

        Columns are grouped by node, so that the mask is one small node-sees-node table, enlarged,
        and cut by position within the nodes.
        """
        own, repeats, drafted = list(self.nodes), list(self.repeats), list(self.drafts)
        lineages = _lineages(own, [*repeats, *drafted])
        past = list(dict.fromkeys(node for lineage in lineages for node in lineage if node not in self.nodes))
        column = {node: index for index, node in enumerate((*past, *own))}
        new = len(lineages)
        sees = np.zeros((new, len(past) + new), np.bool_)
        for row, lineage in enumerate(lineages):
            sees[row, [column[node] for node in lineage]] = True
        sees[np.arange(new), np.arange(len(past), len(past) + new)] = True

        lengths = np.array(
            [len(node.ids) for node in (*past, *own)]
            + [1] * len(repeats)
            + list(map(len, self.drafts.values()))
        )
        starts = np.array(
            [node.start for node in (*past, *own)]
            + [node.end - 1 for node in repeats]
            + [node.end for node in drafted]
        )
        ends = np.cumsum(lengths)
        total = int(ends[-1])
        positions = np.arange(total) + np.repeat(starts - ends + lengths, lengths)
        cached = total - int(lengths[len(past) :].sum())
        row_positions = positions[cached:]
        # A cached token is seen by later positions only: a repeated token must not see its own cached copy.
        positions[:cached] += 1
        visible = np.repeat(np.repeat(sees, lengths[len(past) :], axis=0), lengths, axis=1)
        visible &= positions <= row_positions[:, None]
        last = ends[len(past) :] - cached - 1
        first_draft = self.undrafted
        at = first_draft
        for node, draft in self.drafts.items():
            block = slice(at, at + len(draft))
            row_positions[block] = [node.end + depth for depth in draft.depths]
            visible[block, cached + at : cached + at + len(draft)] = draft.sees
            at += len(draft)

        row_of = {node: last[index] for index, node in enumerate((*own, *repeats))}
        ids = [token for node in own for token in node.ids] + [node.ids[-1] for node in repeats]
        ids += [token for draft in self.drafts.values() for token in draft.ids]
        return Feed(
            ids=np.array(ids, np.int64)[None],
            positions=row_positions[None],
            past=_slots(past)[None],
            mask=np.where(visible, np.float32(0), _HIDDEN),
            rows=np.array([*(row_of[node] for node in self.asked), *range(first_draft, at)], np.int64),
            slots=_slots(own),
        )


def _lineages(own: list[Node], others: list[Node]) -> list[list[Node]]:
    """For each own node all nodes before it; for the others, which stand for later tokens, the node too."""
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
