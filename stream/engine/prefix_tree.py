"""A radix tree over token ids whose nodes own slots of the KV pool (as in SGLang, arXiv 2312.07104).

A node is *unread* (no slots), *being read* by a pass, or *read*. Prompts that share a prefix share its nodes,
so a prefix is read once, whether they come together or one after the other. Read nodes that nobody refers to
stay for reuse; when slots are short the leaves among them that were used longest ago go first.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stream.engine.kv_cache import KvCache, SlotArray

TokenIds = tuple[int, ...]


@dataclass(slots=True, eq=False)
class Reading:
    """Marks the nodes of one pass; shared by all of them, and by the pieces they are split into."""

    done: bool = False


@dataclass(slots=True, eq=False)
class Node:
    """A run of tokens.

    Attributes:
        ids: The tokens, at least one but for the root.
        start: Position of the first of them in the sequence.
        slots: One a token; None while unread.
        reading: The pass that reads or has read them.
        references: Sequences that end here.
    """

    ids: TokenIds
    start: int
    parent: "Node | None"
    slots: SlotArray | None = None
    reading: Reading | None = None
    references: int = 0
    children: dict[int, "Node"] = field(default_factory=dict)

    @property
    def being_read(self) -> bool:
        """Whether a pass that fills its slots is on its way."""
        return self.reading is not None and not self.reading.done

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + len(self.ids)

    def lineage(self) -> Iterator["Node"]:
        """This node and those before it, upwards, without the root."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent


class PrefixTree:
    """Not thread-safe; the scheduler's lock guards it.

    Args:
        cache: The pool that the slots come from.
    """

    def __init__(self, cache: KvCache) -> None:
        self._cache = cache
        self._root = Node((), 0, None)
        # Read leaves nobody refers to, the one to drop next first.
        self._idle: OrderedDict[Node, None] = OrderedDict()

    def insert(self, ids: TokenIds) -> Node:
        """The node at whose end ``ids`` ends, made where it is missing, with a reference taken."""
        return self._acquire(self._descend(self._root, ids))

    def known(self, ids: TokenIds) -> int:
        """How many leading tokens have been read, or are being read."""
        node, at = self._root, 0
        while at < len(ids) and (child := node.children.get(ids[at])) is not None and child.slots is not None:
            shared = common_prefix(child.ids, ids[at:])
            at += shared
            if shared < len(child.ids):
                break
            node = child
        return at

    def advance(self, node: Node, ids: TokenIds) -> Node:
        """Move a reference from a node to its continuation by ``ids``, made where it is missing."""
        end = self._acquire(self._descend(node, ids))
        self.release(node)
        return end

    def release(self, node: Node) -> None:
        """Give a reference back."""
        node.references -= 1
        self._settle(node)

    def split(self, node: Node, at: int) -> Node:
        """Cut a node after its first ``at`` tokens; the node itself keeps the rest and its references.

        Returns:
            The new node that holds the first part.
        """
        parent = node.parent
        assert parent is not None, "the root holds no tokens"  # noqa: S101 - narrows the type
        upper = Node(node.ids[:at], node.start, parent, reading=node.reading)
        if node.slots is not None:
            upper.slots, node.slots = node.slots[:at], node.slots[at:]
        parent.children[node.ids[0]] = upper
        node.ids, node.start, node.parent = node.ids[at:], node.start + at, upper
        upper.children[node.ids[0]] = node
        return upper

    def room(self, wanted: int) -> int:
        """Make up to ``wanted`` slots free, dropping what was used longest ago.

        Returns:
            How many of them are free.
        """
        while self._cache.free < wanted and self._idle:
            node, _ = self._idle.popitem(last=False)
            self._drop(node)
        return min(wanted, self._cache.free)

    def start_reading(self, node: Node, reading: Reading) -> SlotArray:
        """Give an unread node its slots, for which there must be room."""
        node.slots = self._cache.allocate(len(node.ids))
        node.reading = reading
        return node.slots

    def keep(self, node: Node) -> SlotArray:
        """Give an unread node slots for keys and values that are at hand; there must be room."""
        node.slots = self._cache.allocate(len(node.ids))
        self._settle(node)
        return node.slots

    def finish_reading(self, nodes: Iterable[Node], reading: Reading) -> None:
        """Their keys and values are in the pool."""
        reading.done = True
        for node in nodes:
            self._settle(node)

    def abandon_reading(self, nodes: Iterable[Node], reading: Reading) -> None:
        """Their pass failed: they are unread again."""
        reading.done = True
        for node in list(nodes):
            pieces = [piece for piece in node.lineage() if piece.reading is reading]
            for piece in pieces:
                if piece.slots is not None:
                    self._cache.release(piece.slots)
                piece.slots = piece.reading = None
            self._settle(node)

    def _descend(self, node: Node, ids: TokenIds) -> Node:
        at = 0
        while at < len(ids):
            child = node.children.get(ids[at])
            if child is None:
                return self._add_child(node, ids[at:])
            shared = common_prefix(child.ids, ids[at:])
            if shared < len(child.ids):
                child = self.split(child, shared)
            node, at = child, at + shared
        return node

    def _add_child(self, parent: Node, ids: TokenIds) -> Node:
        child = Node(ids, parent.end, parent)
        parent.children[ids[0]] = child
        self._idle.pop(parent, None)
        return child

    def _acquire(self, node: Node) -> Node:
        node.references += 1
        self._idle.pop(node, None)
        return node

    def _settle(self, node: Node) -> None:
        """Decide what becomes of a node that lost a reference, a child or its reading."""
        while not (node.references or node.children or node.being_read or node.parent is None):
            if node.slots is not None:
                self._idle[node] = None
                self._idle.move_to_end(node)
                return
            node = self._detach(node)

    def _drop(self, node: Node) -> None:
        if node.slots is not None:
            self._cache.release(node.slots)
        parent = self._detach(node)
        self._settle(parent)
        if parent in self._idle:
            # All that used the parent later than its last child is gone already, so it is next.
            self._idle.move_to_end(parent, last=False)

    def _detach(self, node: Node) -> Node:
        parent = node.parent
        assert parent is not None, "the root is never dropped"  # noqa: S101 - narrows the type
        del parent.children[node.ids[0]]
        return parent


def common_prefix(left: TokenIds, right: TokenIds) -> int:
    """Length of the longest common prefix, found by halving (slices compare faster than single tokens)."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low if left[low] != right[low] else low + 1
