"""The type that matrix products are computed in."""

import pytest

pytestmark = pytest.mark.train


@pytest.mark.parametrize("faster", ["float32", "bfloat16"])
def test_measured_products_are_of_the_faster_type(monkeypatch, faster):
    """Where the recipe leaves it to a measurement, the faster type is chosen; a GPU needs no measurement."""
    import torch

    from stream.training import product_type

    seconds = {getattr(torch, name): 1.0 + (name != faster) for name in ("float32", "bfloat16")}
    monkeypatch.setattr(product_type, "_product_seconds", seconds.__getitem__)
    assert product_type.in_bfloat16(torch.device("cpu"), "measured") == (faster == "bfloat16")
    assert product_type.in_bfloat16(torch.device("cpu"), True) is True
    monkeypatch.setattr(product_type, "_product_seconds", None)
    assert product_type.in_bfloat16(torch.device("cuda"), "measured")
