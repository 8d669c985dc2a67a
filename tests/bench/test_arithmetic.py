"""Useful work, counted by hand."""

import numpy as np

from stream.bench import measurement
from stream.bench.measurement import ModelArithmetic, machine_rate
from stream.bench.strategies import Totals

WEIGHTS = {
    "model.embed_tokens.weight": np.zeros((10, 4), np.float32),
    "model.layers.0.mlp.up_proj.weight": np.zeros((8, 4), np.float32),
    "model.layers.0.input_layernorm.weight": np.zeros(4, np.float32),
}


def test_arithmetic_counts_two_operations_a_weight_and_no_rejected_draft():
    """A token read costs every layer's matrices, a token chosen the head; a rejected draft is no use."""
    model = ModelArithmetic.of(WEIGHTS)
    assert (model.token, model.row) == (64, 80)
    totals = Totals(computed=10, produced=3, drafted={"shape": 5}, accepted={"shape": 1})
    assert model.useful(totals) == 6 * 64 + 3 * 80


def test_arithmetic_machine_rate_is_that_of_the_quickest_try(monkeypatch):
    """A machine that is disturbed in some tries is as fast as in the others: 2 n^3 operations a product."""
    clock = iter([0, 3, 10, 11, 20, 22, 30, 32, 40, 42])
    monkeypatch.setattr(measurement.time, "perf_counter", lambda: float(next(clock)))
    assert machine_rate() == 2 * 1024**3
