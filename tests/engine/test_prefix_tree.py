"""The prefix tree: shared prefixes, slots owned once, least recently used goes first."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream.engine.kv_cache import KvCache
from stream.engine.model.config import ModelSpec, Rotary
from stream.engine.prefix_tree import Node, PrefixTree, Reading, common_prefix

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
    """Everything that must hold between any two calls."""
    owned: list[int] = []
    for node in nodes_of(tree):
        assert node.ids
        assert node.parent.children[node.ids[0]] is node
        assert node.start == node.parent.end
        if node.slots is not None:
            assert len(node.slots) == len(node.ids)
            assert node.parent is tree._root or node.parent.slots is not None
            owned.extend(node.slots.tolist())
        idle = node.slots is not None and not (node.being_read or node.references or node.children)
        assert (node in tree._idle) == idle
        assert node.slots is not None or node.references or node.children
    assert len(set(owned)) == len(owned) == cache.used
    assert len(tree._idle) == sum(1 for node in nodes_of(tree) if node in tree._idle)


def read(tree: PrefixTree, node: Node) -> Node:
    """Read a node and all before it, in a pass of its own."""
    reading = Reading()
    unread = [each for each in node.lineage() if each.slots is None]
    for each in reversed(unread):
        assert tree.room(len(each.ids)) == len(each.ids)
        tree.start_reading(each, reading)
    tree.finish_reading(unread, reading)
    return node


@pytest.fixture
def cache():
    """A pool of twelve slots."""
    return KvCache(SPEC, 12)


@pytest.fixture
def tree(cache):
    """An empty tree over it."""
    return PrefixTree(cache)


@given(st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), max_size=12))
def test_prefix_tree_common_prefix_counts_equal_leading_tokens(left, right):
    """Halving finds the same length as walking."""
    walked = 0
    while walked < min(len(left), len(right)) and left[walked] == right[walked]:
        walked += 1
    assert common_prefix(tuple(left), tuple(right)) == walked


def test_prefix_tree_shares_the_prefix_of_two_prompts(tree, cache):
    """The second prompt finds what the first one read."""
    read(tree, tree.insert((1, 2, 3, 4)))
    second = tree.insert((1, 2, 3, 9))
    assert [node.ids for node in second.lineage()] == [(9,), (1, 2, 3)]
    assert second.slots is None
    assert second.parent.slots is not None
    check_tree(tree, cache)


def test_prefix_tree_split_while_being_read_leaves_both_parts_in_the_pass(tree, cache):
    """A prompt that arrives in mid-pass may cut a node; both parts are read when the pass ends."""
    reading = Reading()
    node = tree.insert((1, 2, 3, 4))
    tree.start_reading(node, reading)
    other = tree.insert((1, 2, 7))
    assert other.parent.being_read
    tree.finish_reading([node], reading)
    assert not other.parent.being_read
    assert not node.being_read
    check_tree(tree, cache)


def test_prefix_tree_drops_the_leaf_used_longest_ago(tree, cache):
    """Room is made from what nobody refers to, oldest use first, and no more of it than needed."""
    for ids in ((1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)):
        tree.release(read(tree, tree.insert(ids)))
    tree.release(tree.insert((1, 1, 1, 1)))
    assert tree.room(3) == 3
    assert {node.ids[0] for node in nodes_of(tree)} == {1, 3}
    check_tree(tree, cache)


def test_prefix_tree_never_drops_what_is_referred_to(tree, cache):
    """Room is short rather than taken from a prompt in flight."""
    read(tree, tree.insert((1, 2, 3, 4, 5, 6, 7, 8)))
    assert tree.room(12) == 4
    check_tree(tree, cache)


def test_prefix_tree_forgets_unread_tokens_with_their_last_reference(tree, cache):
    """A cancelled prompt leaves nothing behind."""
    read(tree, tree.insert((1, 2)))
    node = tree.insert((1, 2, 3, 4))
    tree.release(node)
    assert [node.ids for node in nodes_of(tree)] == [(1, 2)]
    check_tree(tree, cache)


def test_prefix_tree_abandoned_reading_gives_its_slots_back(tree, cache):
    """After a pass that broke its tokens count as unread, pieces split off meanwhile too."""
    reading = Reading()
    node = tree.insert((1, 2, 3, 4))
    tree.start_reading(node, reading)
    other = tree.insert((1, 2, 7))
    tree.abandon_reading([node], reading)
    assert cache.used == 0
    assert node.slots is None
    assert other.parent.slots is None
    check_tree(tree, cache)


class TreeMachine(RuleBasedStateMachine):
    """Calls in any order, as the scheduler might make them."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = KvCache(SPEC, 12)
        self.tree = PrefixTree(self.cache)
        self.held: list[Node] = []
        self.passes: list[tuple[list[Node], Reading]] = []

    @rule(ids=st.lists(st.integers(0, 2), min_size=1, max_size=6))
    def insert(self, ids):
        """A prompt comes."""
        self.held.append(self.tree.insert(tuple(ids)))

    @rule(wanted=st.integers(1, 12))
    def make_room(self, wanted):
        """Somebody wants slots."""
        self.tree.room(wanted)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def start_reading(self, data):
        """A pass takes the first unread node of a prompt, or what there is room for."""
        unread = [node for node in data.draw(st.sampled_from(self.held)).lineage() if node.slots is None]
        if not unread or unread[-1].parent.being_read:
            return
        node, reading = unread[-1], Reading()
        if room := self.tree.room(len(node.ids)):
            part = node if room == len(node.ids) else self.tree.split(node, room)
            self.tree.start_reading(part, reading)
            self.passes.append(([part], reading))

    @precondition(lambda self: self.passes)
    @rule(data=st.data(), broken=st.booleans())
    def end_reading(self, data, broken):
        """A pass ends, well or badly."""
        nodes, reading = self.passes.pop(data.draw(st.integers(0, len(self.passes) - 1)))
        (self.tree.abandon_reading if broken else self.tree.finish_reading)(nodes, reading)

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
        """What must hold holds."""
        check_tree(self.tree, self.cache)

    def teardown(self):
        """With every reference given back, every slot can be had again."""
        for nodes, reading in self.passes:
            self.tree.finish_reading(nodes, reading)
        for node in self.held:
            self.tree.release(node)
        check_tree(self.tree, self.cache)
        assert self.tree.room(12) == 12
        assert not list(nodes_of(self.tree))


TestPrefixTreeUnderAnySequenceOfCalls = TreeMachine.TestCase
