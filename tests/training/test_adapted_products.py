"""Adapters on a CPU, computed in one product with what they adapt."""

import pytest

from stream.training.sections import AdapterConfig
from tests.training.foreign import write_foreign

pytestmark = pytest.mark.train

ROWS = [3, 5, 320]
TEXTS = [[3, 9, 200, 5, 320, 7], [301, 320, 320, 1, 2, 4]]


@pytest.fixture(scope="module", params=[("llama", True), ("llama", False), ("qwen2", True)], ids=str)
def folder(request, tmp_path_factory):
    """A tiny checkpoint, its head the embedding or one of its own, with and without biases."""
    architecture, tied = request.param
    return write_foreign(tmp_path_factory.mktemp("foreign") / "model", architecture, tie_word_embeddings=tied)


def gradients(folder, *, fused, bfloat16=False, dropout=0.0):
    """Loss and gradients of an adapted model on some texts."""
    import torch
    from transformers import AutoModelForCausalLM

    from stream.training.adapted_products import fuse_adapters
    from stream.training.lora import add_adapters

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_cache=False)
    torch.manual_seed(0)
    add_adapters(model, AdapterConfig(rank=4, alpha=12.0, dropout=dropout), ROWS)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1 if "lora" in name else 0.5)
    kinds = {type(part).__name__ for part in model.modules()}
    if fused:
        fuse_adapters(model)
        kinds = {type(part).__name__ for part in model.modules()} - kinds
    ids = torch.tensor(TEXTS)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, kinds


def test_fused_adapters_give_pefts_loss_and_gradients(folder):
    """The faster computation is peft's own, weight by weight, and trains nothing that peft leaves frozen."""
    import torch

    loss, wanted, _ = gradients(folder, fused=False)
    fused_loss, found, fresh = gradients(folder, fused=True)
    assert fresh == {"_FusedLinear", "_FusedRows"}
    assert torch.allclose(fused_loss, loss, rtol=1e-6)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        # Sums in another order: a processor without AVX-512 differs by 4e-6 of values near 1.
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=3e-5), name


def test_fused_adapters_round_products_as_pefts_do(folder):
    """In bfloat16 the gradients point where the exact ones do, as far as peft's do."""
    import torch

    _, exact, _ = gradients(folder, fused=False)
    agreements = []
    for fused in (False, True):
        _, rounded, _ = gradients(folder, fused=fused, bfloat16=True)
        flat = [torch.cat([part[name].flatten().float() for name in exact]) for part in (exact, rounded)]
        agreements.append(float(torch.cosine_similarity(*flat, dim=0)))
    assert agreements[1] > 0.99
    assert agreements[1] > agreements[0] - 0.005


def test_fused_adapters_leave_dropout_to_peft(folder):
    """Layers whose adapters drop inputs keep peft's computation."""
    _, _, fresh = gradients(folder, fused=True, dropout=0.1)
    assert fresh == {"_FusedRows"}
