"""The initial values that make copying start early, for every architecture that has the parts."""

import math
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from stream.training.architecture import decoder_layers

_EMBEDDING_STD = 0.1
_LINEAR_STD = 0.02
_COPYING_LAYERS = 2
_OUTPUT_PROJECTIONS = ("o_proj", "out_proj", "down_proj", "dense", "c_proj", "fc2", "dense_4h_to_h")
"""What writes into the residual stream, by the names that transformers has for it."""


def set_initial_values(model: PreTrainedModel) -> None:
    """Scale a fresh model's weights, and let its last layers copy.

    Scales: embeddings 0.1, linear layers 0.02, output projections divided by sqrt(2 x layers); a head that is
    not the embedding begins as a copy of it. In the last two layers W_V is orthogonal and W_O its transpose,
    for each query head that of the value head it reads: attending to a token already speaks for writing it.
    Where a layer has no such parts, the architecture's own initial values stay.
    """
    layers = decoder_layers(model)
    narrow = _LINEAR_STD / math.sqrt(2 * len(layers))
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    nn.init.normal_(embedding.weight, std=_EMBEDDING_STD)
    if head.weight is not embedding.weight:
        with torch.no_grad():
            head.weight.copy_(embedding.weight)
    for number, layer in enumerate(layers):
        linears = [(name, part) for name, part in layer.named_modules() if isinstance(part, nn.Linear)]
        outputs = [part for name, part in linears if name.rpartition(".")[-1] in _OUTPUT_PROJECTIONS]
        for part in (part for _, part in linears if part not in outputs):
            nn.init.normal_(part.weight, std=_LINEAR_STD)
        for part in outputs:
            nn.init.normal_(part.weight, std=narrow)
        if number >= len(layers) - _COPYING_LAYERS:
            _let_copy(layer)


def _let_copy(layer: nn.Module) -> None:
    attention: Any = getattr(layer, "self_attn", None)
    if not all(hasattr(attention, name) for name in ("v_proj", "o_proj", "head_dim")):
        return
    value, output = attention.v_proj, attention.o_proj
    nn.init.orthogonal_(value.weight)
    width = attention.head_dim
    heads = value.weight.unflatten(0, (-1, width))
    shared = output.weight.shape[1] // width // len(heads)
    with torch.no_grad():
        output.weight.copy_(heads.repeat_interleave(shared, 0).flatten(0, 1).T)
