"""Products of 8-bit integers: exact on every processor, whatever its instructions."""

import numpy as np
import onnxruntime
import pytest

from stream.engine.model import graph
from stream.engine.model.graph import Operators

WIDTH, OUTPUT = 64, 48


def product(matrix, activations):
    """The quantised product of the graph, and that of numpy on the same rounded values."""
    operators = Operators({}, int8=True)
    name = operators.product("rows", matrix, "product")
    operators.output(name, ["n", OUTPUT])
    rows = graph.helper.make_tensor_value_info("rows", graph.TensorProto.FLOAT, ["n", WIDTH])
    model = operators.model("product", [rows]).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"rows": activations})
    scales = np.abs(matrix).max(axis=0) / 127
    token_scales = np.abs(activations).max(axis=1, keepdims=True) / 127
    whole = np.rint(activations / token_scales) @ np.rint(matrix / scales)
    return found, whole * scales * token_scales


@pytest.mark.parametrize("signed", [False, None])
def test_int8_product_of_the_largest_values_is_exact(monkeypatch, signed):
    """Rows and columns whose values are all at their greatest lose nothing to 16-bit sums."""
    if signed is not None:
        monkeypatch.setattr(graph, "signed_weights_are_exact", lambda: signed)
    generator = np.random.default_rng(0)
    matrix = generator.choice([-1.0, 1.0], (WIDTH, OUTPUT)).astype(np.float32)
    matrix[:, :8] = 1.0
    found, exact = product(matrix, np.ones((3, WIDTH), np.float32))
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize("signed", [False, None])
def test_int8_product_of_any_values_is_that_of_their_rounded_values(monkeypatch, signed):
    """Random rows and columns give the sums of their rounded values, by either way of storing weights."""
    if signed is not None:
        monkeypatch.setattr(graph, "signed_weights_are_exact", lambda: signed)
    generator = np.random.default_rng(1)
    matrix = generator.standard_normal((WIDTH, OUTPUT)).astype(np.float32)
    found, exact = product(matrix, generator.standard_normal((5, WIDTH)).astype(np.float32))
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)
