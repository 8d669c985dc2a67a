"""Adapters on a CPU, computed in one product with what they adapt.

peft multiplies, scales and adds in arrays as large as a layer's output, and copies the whole embedding, with
a gradient as large, to train a few of its rows. Here each of these steps is as small as an adapter. Values
and gradients are the same. One layer of SmolLM2-135M, forward and backward on 1,080 tokens, takes one core
0.32 s with peft and 0.24 s here, and in bfloat16 0.20 and 0.13 s; the head on 300 of them 0.75 and 0.34 s.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear as AdaptedLinear
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from torch import Tensor, nn
from torch.nn.functional import embedding, linear
from transformers import PreTrainedModel

_ADAPTER = "default"


def fuse_adapters(causal: PreTrainedModel) -> None:
    """Give a model's adapters, and its rows that are trained themselves, the faster computation, in place.

    Layers of another kind keep peft's own: those with a dropout, and embeddings that scale what they look up.

    Args:
        causal: As ``add_adapters`` left it; with 16-bit weights it keeps peft's own computation.
    """
    if causal.dtype in {torch.float16, torch.bfloat16}:
        return
    for part in causal.modules():
        if type(part) is AdaptedLinear and type(part.lora_dropout[_ADAPTER]) is nn.Identity:
            part.__class__ = _FusedLinear
        elif type(part) is TrainableTokensLayer and type(part.base_layer) in {nn.Embedding, nn.Linear}:
            part.__class__ = _FusedRows


# torch is not installed where types are checked.
class _Frozen(nn.Module):  # type: ignore[misc]
    """A layer whose base has a weight that never changes, rounded once for products in fewer bits."""

    _rounded: Tensor | None = None

    def _weight(self, dtype: torch.dtype) -> Tensor:
        weight: Tensor = self.base_layer.weight
        if weight.dtype == dtype:
            return weight
        if self._rounded is None or self._rounded.dtype != dtype:
            self._rounded = weight.detach().to(dtype)
        return self._rounded


class _FusedLinear(AdaptedLinear, _Frozen):  # type: ignore[misc]
    def forward(self, x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        base, dtype = self.base_layer, _product_type(x, self.base_layer.weight)
        product: Tensor = _Product.apply(
            x.to(dtype),
            self._weight(dtype),
            None if base.bias is None else base.bias.to(dtype),
            self.lora_A[_ADAPTER].weight.to(dtype),
            self.lora_B[_ADAPTER].weight.to(dtype),
            self.scaling[_ADAPTER],
        )
        return product


class _FusedRows(TrainableTokensLayer, _Frozen):  # type: ignore[misc]
    def forward(self, x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        base, rows = self.base_layer, self.trainable_tokens_delta[_ADAPTER]
        ids = torch.tensor(self.token_indices[_ADAPTER], device=x.device)
        if isinstance(base, nn.Linear):
            dtype = _product_type(x, base.weight)
            logits: Tensor = linear(x.to(dtype), self._weight(dtype))
            return logits.index_copy(-1, ids, linear(x.to(dtype), rows.to(dtype)))
        places = torch.full((base.num_embeddings,), -1, device=x.device).index_copy_(
            0, ids, torch.arange(len(ids), device=x.device)
        )[x]
        trained = embedding(places.clamp(min=0), rows)
        return torch.where((places >= 0)[..., None], trained, base(x))


class _Product(torch.autograd.Function):  # type: ignore[misc]
    """x W^T + b + s (x A^T) B^T, where W and b have no gradient."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by place
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ down.T
        product = linear(rows, weight, bias).addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.scale = scale
        return product.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, down, up = ctx.saved_tensors
        behind = gradient.reshape(-1, gradient.shape[-1])
        low_gradient = (behind @ up).mul_(ctx.scale)
        before = None
        if ctx.needs_input_grad[0]:
            before = (behind @ weight).addmm_(low_gradient, down).view(*gradient.shape[:-1], -1)
        return before, None, None, low_gradient.T @ rows, (behind.T @ low).mul_(ctx.scale), None


def _product_type(x: Tensor, weight: Tensor) -> torch.dtype:
    """The type that a linear layer would multiply in."""
    kind = x.device.type
    dtype: torch.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    return dtype
