"""The arrays of a pass against an obvious implementation."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.engine.batch import Batch, Feed
from stream.engine.drafts.draft import START, DraftBuilder
from stream.engine.kv_cache import KvCache
from stream.engine.prefix_tree import Node, PrefixTree
from tests.engine.test_prefix_tree import SPEC, prefill

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple), min_size=1, max_size=6)


def path(node: Node) -> list[tuple[Node, int]]:
    """Every token up to a node's end, as node and index in it."""
    return [(each, index) for each in reversed(list(node.lineage())) for index in range(len(each.ids))]


def drafted_paths(batch: Batch) -> list[tuple[Node, list[int]]]:
    """Every drafted token as the node before the draft and the indices of its path in the draft."""
    paths = []
    for node, draft in batch.drafts.items():
        parents = {index: parent for (parent, _), index in draft.children.items()}
        for index in range(len(draft)):
            way = [index]
            while parents[way[0]] != START:
                way.insert(0, parents[way[0]])
            paths.append((node, way))
    return paths


def slow_feed(batch: Batch) -> Feed:
    """The same pass, token by token."""
    own = [(node, index) for node in batch.nodes for index in range(len(node.ids))]
    drafted = drafted_paths(batch)
    # Each row's token, and the tokens that it attends to besides itself.
    rows = [(token, path(token[0])[: token[0].start + token[1]]) for token in own]
    rows += [((node, len(node.ids) - 1, "again"), path(node)[:-1]) for node in batch.recomputed]
    rows += [
        ((node, way[-1], "draft"), [*path(node), *((node, at, "draft") for at in way[:-1])])
        for node, way in drafted
    ]
    nodes = list(dict.fromkeys(token[0] for token in _in_order(batch, rows) if token[0] not in batch.nodes))
    past = [(node, index) for node in nodes for index in range(len(node.ids))]
    columns = [*past, *(token for token, _ in rows)]
    mask = np.full((len(rows), len(columns)), -1e9, np.float32)
    for row, (token, tokens) in enumerate(rows):
        for each in (token, *tokens):
            mask[row, columns.index(each)] = 0
    ends = [
        next(
            row
            for row, (token, _) in enumerate(rows)
            if token[0] is node and token[1] == len(node.ids) - 1 and token[2:] != ("draft",)
        )
        for node in batch.outputs
    ]
    ids = [node.ids[index] for node, index in own] + [node.ids[-1] for node in batch.recomputed]
    ids += [batch.drafts[node].ids[way[-1]] for node, way in drafted]
    positions = [node.start + index for node, index in own] + [node.end - 1 for node in batch.recomputed]
    positions += [node.end + len(way) - 1 for node, way in drafted]
    return Feed(
        ids=np.array([ids]),
        positions=np.array([positions]),
        past=np.array([[node.slots[index] for node, index in past]], np.int64).reshape(1, -1),
        mask=mask,
        rows=np.array([*ends, *range(len(own) + len(batch.recomputed), len(rows))]),
        slots=np.array([node.slots[index] for node, index in own], np.int64),
    )


def _in_order(batch: Batch, rows: list) -> list:
    """Attended tokens, row by row; a row after a whole node attends to all of it."""
    order = []
    for token, _ in rows:
        whole = len(token) > 2
        order += path(token[0]) if whole else path(token[0])[: token[0].start]
    return order


@settings(max_examples=150, deadline=None)
@given(PROMPTS, PROMPTS, st.lists(PROMPTS | st.none(), min_size=6, max_size=6))
def test_batch_feed_masks_all_but_every_tokens_own_path(known, wanted, drafted):
    """For any tree, ids, positions, cached slots and mask equal the obvious implementation's."""
    tree = PrefixTree(KvCache(SPEC, 90))
    for ids in known:
        prefill(tree, tree.insert(ids))
    ends = [tree.insert(ids) for ids in wanted]
    batch = Batch()
    for end in ends:
        uncached = [node for node in end.lineage() if node.slots is None]
        for node in reversed(uncached):
            tree.allocate(node, batch.mark)
            if node not in batch.nodes:
                batch.prefill(node)
        if end not in batch.nodes:
            batch.recompute(end)
        batch.outputs[end] = []
    for end, chains in zip(batch.outputs, drafted, strict=False):
        builder = DraftBuilder(8)
        for chain in chains or ():
            builder.add_chain(chain, "test")
        if (draft := builder.build()) is not None:
            batch.drafts[end] = draft
    fast, slow = batch.feed(), slow_feed(batch)
    for name in Feed.__slots__:
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name), err_msg=name)
