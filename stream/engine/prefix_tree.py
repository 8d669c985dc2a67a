"""A radix tree over token ids whose nodes own slots of the KV cache (as in SGLang, arXiv 2312.07104).

A node is *uncached* (no slots), *computing* (a pass fills its slots) or *cached*. Prompts that share a prefix
share its nodes, so a prefix is computed once, whether they arrive together or one after the other. Cached
nodes without references stay for reuse; when slots are short, the least recently used leaf is evicted first.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stream.engine.kv_cache import KvCache, SlotArray

TokenIds = tuple[int, ...]


@dataclass(slots=True, eq=False)
class PassMark:
    """A mark on the nodes that one pass computes; pieces of a split node share it."""

    done: bool = False


@dataclass(slots=True, eq=False)
class Node:
    """A run of tokens.

    Attributes:
        ids: The tokens, at least one except at the root.
        start: Position of the first token in the sequence.
        slots: One per token; None while uncached.
        mark: The pass that computes or has computed the node.
        references: Number of sequences that end here.
    """

    ids: TokenIds
    start: int
    parent: "Node | None"
    slots: SlotArray | None = None
    mark: PassMark | None = None
    references: int = 0
    children: dict[int, "Node"] = field(default_factory=dict)

    @property
    def computing(self) -> bool:
        """True while a pass in flight fills its slots."""
        return self.mark is not None and not self.mark.done

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + len(self.ids)

    def lineage(self) -> Iterator["Node"]:
        """This node and its ancestors, upwards, without the root."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent


class PrefixTree:
    """Not thread-safe; the decoder's lock guards it.

    Args:
        cache: The KV cache that slots are allocated from.
    """

    def __init__(self, cache: KvCache) -> None:
        self._cache = cache
        self._root = Node((), 0, None)
        # Cached leaves without references, the least recently used first.
        self._evictable: OrderedDict[Node, None] = OrderedDict()

    def insert(self, ids: TokenIds) -> Node:
        """Take a reference to the node that ends where ``ids`` ends, creating it if needed."""
        return self._acquire(self._descend(self._root, ids))

    def cached_prefix(self, ids: TokenIds) -> int:
        """Number of leading tokens that are cached or being computed."""
        node, at = self._root, 0
        while at < len(ids) and (child := node.children.get(ids[at])) is not None and child.slots is not None:
            shared = common_prefix(child.ids, ids[at:])
            at += shared
            if shared < len(child.ids):
                break
            node = child
        return at

    def advance(self, node: Node, ids: TokenIds) -> Node:
        """Move a reference from a node to its continuation by ``ids``, creating that if needed."""
        end = self._acquire(self._descend(node, ids))
        self.release(node)
        return end

    def release(self, node: Node) -> None:
        """Drop a reference."""
        node.references -= 1
        self._retire(node)

    def split(self, node: Node, at: int) -> Node:
        """Split a node after its first ``at`` tokens; the node itself keeps the rest and its references.

        Returns:
            The new node of the first part.
        """
        parent = node.parent
        assert parent is not None, "the root holds no tokens"  # noqa: S101 - narrows the type
        upper = Node(node.ids[:at], node.start, parent, mark=node.mark)
        if node.slots is not None:
            upper.slots, node.slots = node.slots[:at], node.slots[at:]
        parent.children[node.ids[0]] = upper
        node.ids, node.start, node.parent = node.ids[at:], node.start + at, upper
        upper.children[node.ids[0]] = node
        return upper

    def make_available(self, wanted: int) -> int:
        """Evict least recently used leaves until ``wanted`` slots are free.

        Returns:
            Free slots, at most ``wanted``.
        """
        while self._cache.free < wanted and self._evictable:
            node, _ = self._evictable.popitem(last=False)
            self._evict(node)
        return min(wanted, self._cache.free)

    def allocate(self, node: Node, mark: PassMark | None = None) -> SlotArray:
        """Allocate slots for an uncached node; they must be available.

        Args:
            node: The node.
            mark: The pass that will compute it; None: its keys and values are at hand.
        """
        node.slots, node.mark = self._cache.allocate(len(node.ids)), mark
        return node.slots

    def commit(self, nodes: Iterable[Node], mark: PassMark) -> None:
        """Make the nodes of a finished pass cached."""
        mark.done = True
        for node in nodes:
            self._retire(node)

    def roll_back(self, nodes: Iterable[Node], mark: PassMark) -> None:
        """Make the nodes of a failed pass uncached again."""
        mark.done = True
        for node in list(nodes):
            pieces = [piece for piece in node.lineage() if piece.mark is mark]
            for piece in pieces:
                if piece.slots is not None:
                    self._cache.release(piece.slots)
                piece.slots = piece.mark = None
            self._retire(node)

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
        self._evictable.pop(parent, None)
        return child

    def _acquire(self, node: Node) -> Node:
        node.references += 1
        self._evictable.pop(node, None)
        return node

    def _retire(self, node: Node) -> None:
        """Make an unused node evictable, or remove it if it is uncached."""
        while not (node.references or node.children or node.computing or node.parent is None):
            if node.slots is not None:
                self._evictable[node] = None
                self._evictable.move_to_end(node)
                return
            node = self._detach(node)

    def _evict(self, node: Node) -> None:
        if node.slots is not None:
            self._cache.release(node.slots)
        parent = self._detach(node)
        self._retire(parent)
        if parent in self._evictable:
            # Every later user of the parent is gone already, so the parent is the least recently used.
            self._evictable.move_to_end(parent, last=False)

    def _detach(self, node: Node) -> Node:
        parent = node.parent
        assert parent is not None, "the root is never removed"  # noqa: S101 - narrows the type
        del parent.children[node.ids[0]]
        return parent


def common_prefix(left: TokenIds, right: TokenIds) -> int:
    """Length of the longest common prefix, by bisection (slices compare faster than single tokens)."""
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
