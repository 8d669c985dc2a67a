"""The KV cache's slots."""

import numpy as np

from stream.engine.kv_cache import KvCache
from tests.engine.test_prefix_tree import SPEC


def test_kv_cache_never_gives_a_slot_twice():
    """Allocated slots are distinct until they are released."""
    cache = KvCache(SPEC, 8)
    first, second = cache.allocate(3), cache.allocate(5)
    assert sorted([*first, *second]) == list(range(8))
    cache.release(first)
    assert set(cache.allocate(3)) == set(first)


def test_kv_cache_counts_used_and_free():
    """Used and free always add up to the bound."""
    cache = KvCache(SPEC, 8)
    slots = cache.allocate(6)
    assert (cache.used, cache.free) == (6, 2)
    cache.release(slots)
    assert (cache.used, cache.free) == (0, 8)


def test_kv_cache_writes_to_the_given_slots_alone():
    """Only as many tokens are stored as slots are given."""
    cache = KvCache(SPEC, 8)
    keys, values = np.ones((1, 3, 4), np.float32), np.full((1, 3, 4), 2, np.float32)
    cache.write(np.array([5, 1]), [keys, values])
    assert cache.layers[0][0].sum(axis=1).tolist() == [0, 4, 0, 0, 0, 4, 0, 0]
    assert cache.layers[0][1].sum(axis=1).tolist() == [0, 8, 0, 0, 0, 8, 0, 0]
