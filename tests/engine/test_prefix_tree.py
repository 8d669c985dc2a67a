"""The prefix tree: shared prefixes, slots owned once, least recently used evicted first."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream.engine.kv_cache import KvCache
from stream.engine.model.config import ModelSpec, Rotary
from stream.engine.prefix_tree import Node, PassMark, PrefixTree, common_prefix

SPEC = ModelSpec(
    vocabulary=10, hidden=4, layers=1, heads=1, kv_heads=1, head_width=4, max_positions=99, norm_epsilon=1e-5,
    rotaries=(Rotary(1e4),), tied=True, attention_scale=0.5,
)  # fmt: skip


def nodes_of(tree: PrefixTree) -> Iterator[Node]:
    """All nodes but the root."""
    waiting = list(tree._root.children.values())
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children.values())


def check_tree(tree: PrefixTree, cache: KvCache) -> None:
    """Check the invariants that hold between any two calls."""
    owned: list[int] = []
    for node in nodes_of(tree):
        assert node.ids
        assert node.parent.children[node.ids[0]] is node
        assert node.start == node.parent.end
        if node.slots is not None:
            assert len(node.slots) == len(node.ids)
            assert node.parent is tree._root or node.parent.slots is not None
            owned.extend(node.slots.tolist())
        evictable = node.slots is not None and not (node.computing or node.references or node.children)
        assert (node in tree._evictable) == evictable
        assert node.slots is not None or node.references or node.children
    assert len(set(owned)) == len(owned) == cache.used
    assert len(tree._evictable) == sum(1 for node in nodes_of(tree) if node in tree._evictable)


def prefill(tree: PrefixTree, node: Node) -> Node:
    """Compute a node and its ancestors, in a pass of their own."""
    mark = PassMark()
    uncached = [each for each in node.lineage() if each.slots is None]
    for each in reversed(uncached):
        assert tree.make_available(len(each.ids)) == len(each.ids)
        tree.allocate(each, mark)
    tree.commit(uncached, mark)
    return node


@pytest.fixture
def cache():
    """A KV cache of twelve slots."""
    return KvCache(SPEC, 12)


@pytest.fixture
def tree(cache):
    """An empty tree over it."""
    return PrefixTree(cache)


@given(st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), max_size=12))
def test_prefix_tree_common_prefix_counts_equal_leading_tokens(left, right):
    """Bisection finds the same length as a walk."""
    walked = 0
    while walked < min(len(left), len(right)) and left[walked] == right[walked]:
        walked += 1
    assert common_prefix(tuple(left), tuple(right)) == walked


def test_prefix_tree_shares_the_prefix_of_two_prompts(tree, cache):
    """The second prompt finds the cached tokens of the first one."""
    prefill(tree, tree.insert((1, 2, 3, 4)))
    second = tree.insert((1, 2, 3, 9))
    assert [node.ids for node in second.lineage()] == [(9,), (1, 2, 3)]
    assert second.slots is None
    assert second.parent.slots is not None
    check_tree(tree, cache)


def test_prefix_tree_split_while_computing_leaves_both_parts_in_the_pass(tree, cache):
    """A prompt that arrives during a pass may split a node; both parts are cached when the pass ends."""
    mark = PassMark()
    node = tree.insert((1, 2, 3, 4))
    tree.allocate(node, mark)
    other = tree.insert((1, 2, 7))
    assert other.parent.computing
    tree.commit([node], mark)
    assert not other.parent.computing
    assert not node.computing
    check_tree(tree, cache)


def test_prefix_tree_evicts_the_least_recently_used_leaf(tree, cache):
    """Unreferenced nodes are evicted, least recently used first, and no more of them than needed."""
    for ids in ((1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)):
        tree.release(prefill(tree, tree.insert(ids)))
    tree.release(tree.insert((1, 1, 1, 1)))
    assert tree.make_available(3) == 3
    assert {node.ids[0] for node in nodes_of(tree)} == {1, 3}
    check_tree(tree, cache)


def test_prefix_tree_never_evicts_a_referenced_node(tree, cache):
    """Slots run short rather than being taken from a prompt in flight."""
    prefill(tree, tree.insert((1, 2, 3, 4, 5, 6, 7, 8)))
    assert tree.make_available(12) == 4
    check_tree(tree, cache)


def test_prefix_tree_removes_uncached_tokens_with_their_last_reference(tree, cache):
    """A cancelled prompt leaves no node."""
    prefill(tree, tree.insert((1, 2)))
    node = tree.insert((1, 2, 3, 4))
    tree.release(node)
    assert [node.ids for node in nodes_of(tree)] == [(1, 2)]
    check_tree(tree, cache)


def test_prefix_tree_rolled_back_pass_frees_its_slots(tree, cache):
    """After a failed pass its tokens are uncached, those split off meanwhile too."""
    mark = PassMark()
    node = tree.insert((1, 2, 3, 4))
    tree.allocate(node, mark)
    other = tree.insert((1, 2, 7))
    tree.roll_back([node], mark)
    assert cache.used == 0
    assert node.slots is None
    assert other.parent.slots is None
    check_tree(tree, cache)


class TreeMachine(RuleBasedStateMachine):
    """Calls in any order that the scheduler might use."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = KvCache(SPEC, 12)
        self.tree = PrefixTree(self.cache)
        self.held: list[Node] = []
        self.passes: list[tuple[list[Node], PassMark]] = []

    @rule(ids=st.lists(st.integers(0, 2), min_size=1, max_size=6))
    def insert(self, ids):
        """A prompt arrives."""
        self.held.append(self.tree.insert(tuple(ids)))

    @rule(wanted=st.integers(1, 12))
    def make_available(self, wanted):
        """Slots are wanted."""
        self.tree.make_available(wanted)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def start_pass(self, data):
        """A pass takes the first uncached node of a prompt, as far as slots are available."""
        uncached = [node for node in data.draw(st.sampled_from(self.held)).lineage() if node.slots is None]
        if not uncached or uncached[-1].parent.computing:
            return
        node, mark = uncached[-1], PassMark()
        if available := self.tree.make_available(len(node.ids)):
            part = node if available == len(node.ids) else self.tree.split(node, available)
            self.tree.allocate(part, mark)
            self.passes.append(([part], mark))

    @precondition(lambda self: self.passes)
    @rule(data=st.data(), broken=st.booleans())
    def end_pass(self, data, broken):
        """A pass ends, well or badly."""
        nodes, mark = self.passes.pop(data.draw(st.integers(0, len(self.passes) - 1)))
        (self.tree.roll_back if broken else self.tree.commit)(nodes, mark)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), ids=st.lists(st.integers(0, 2), min_size=1, max_size=3))
    def advance(self, data, ids):
        """Tokens are chosen."""
        index = data.draw(st.integers(0, len(self.held) - 1))
        self.held[index] = self.tree.advance(self.held[index], tuple(ids))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data):
        """A prompt is done or cancelled."""
        self.tree.release(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @invariant()
    def is_sound(self):
        """The tree's invariants hold."""
        check_tree(self.tree, self.cache)

    def teardown(self):
        """Without references, every slot is available again."""
        for nodes, mark in self.passes:
            self.tree.commit(nodes, mark)
        for node in self.held:
            self.tree.release(node)
        check_tree(self.tree, self.cache)
        assert self.tree.make_available(12) == 12
        assert not list(nodes_of(self.tree))


TestPrefixTreeUnderAnySequenceOfCalls = TreeMachine.TestCase
