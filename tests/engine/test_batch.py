"""The arrays of a pass against the obvious way to fill them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.engine.batch import Batch, Feed
from stream.engine.kv_cache import KvCache
from stream.engine.prefix_tree import Node, PrefixTree
from tests.engine.test_prefix_tree import SPEC, read

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple), min_size=1, max_size=6)


def path(node: Node) -> list[tuple[Node, int]]:
    """Every token up to a node's end, as node and index in it."""
    return [(each, index) for each in reversed(list(node.lineage())) for index in range(len(each.ids))]


def slow_feed(batch: Batch) -> Feed:
    """The same pass, token by token."""
    new = [(node, index, False) for node in batch.nodes for index in range(len(node.ids))]
    new += [(node, len(node.ids) - 1, True) for node in batch.repeats]
    lineages = [
        [token for token in path(node) if token[0].start + token[1] <= node.start + index]
        for node, index, _ in new
    ]
    past = list(
        dict.fromkeys(
            (each, at)
            for (node, _, repeat), lineage in zip(new, lineages, strict=True)
            for each, at in (path(node) if repeat else lineage)
            if each not in batch.nodes
        )
    )
    own = [(node, index) for node, index, repeat in new if not repeat]
    mask = np.full((len(new), len(past) + len(new)), -1e9, np.float32)
    for row, ((node, index, _), lineage) in enumerate(zip(new, lineages, strict=True)):
        for token in lineage:
            if token != (node, index):
                mask[row, past.index(token) if token in past else len(past) + own.index(token)] = 0
        mask[row, len(past) + row] = 0
    return Feed(
        ids=np.array([[node.ids[index] for node, index, _ in new]]),
        positions=np.array([[node.start + index for node, index, _ in new]]),
        past=np.array([[node.slots[index] for node, index in past]], np.int64).reshape(1, -1),
        mask=mask,
        rows=np.array(
            [
                next(
                    row
                    for row, (node, index, repeat) in enumerate(new)
                    if node is asked and index == len(node.ids) - 1
                )
                for asked in batch.asked
            ]
        ),
        slots=np.array([node.slots[index] for node, index in own], np.int64),
    )


@settings(max_examples=150, deadline=None)
@given(PROMPTS, PROMPTS)
def test_batch_feed_lets_every_token_see_its_own_path_and_nothing_else(known, wanted):
    """Whatever the tree looks like, ids, positions, cached slots and mask are those of the obvious way."""
    tree = PrefixTree(KvCache(SPEC, 90))
    for ids in known:
        read(tree, tree.insert(ids))
    ends = [tree.insert(ids) for ids in wanted]
    batch = Batch()
    for end in ends:
        unread = [node for node in end.lineage() if node.slots is None]
        for node in reversed(unread):
            tree.start_reading(node, batch.reading)
            if node not in batch.nodes:
                batch.read(node)
        if end not in batch.nodes:
            batch.repeat(end)
        batch.asked[end] = []
    fast, slow = batch.feed(), slow_feed(batch)
    for name in Feed.__slots__:
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name), err_msg=name)
