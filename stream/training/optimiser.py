"""Optimizers of a run: AdamW, or Muon for matrices and AdamW for the rest."""

import torch
from torch import nn

from stream.training.causal import decoder_layers
from stream.training.model import TrainingModel
from stream.training.sections import TrainingConfig


def make_optimisers(model: TrainingModel, config: TrainingConfig) -> tuple[torch.optim.Optimizer, ...]:
    """AdamW over all that is not frozen, or Muon over the layers' matrices and AdamW over the rest.

    Vectors (norms, biases) do not decay.
    """
    rate, decay = config.lr_schedule[0].learning_rate, config.weight_decay
    layers = decoder_layers(model.causal) if config.optimizer == "muon" else nn.ModuleList()
    matrices, rest = part_matrices(model, layers)
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=rate, betas=config.betas, fused=True)
    return (make_muon(matrices, rate, decay), adamw) if matrices else (adamw,)


def part_matrices(model: nn.Module, layers: nn.ModuleList) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices inside the layers, and all other weights of the model; frozen ones are in neither."""
    inside = {id(p) for p in layers.parameters() if p.ndim == 2}  # noqa: PLR2004 - matrices
    trained = [p for p in model.parameters() if p.requires_grad]
    return [p for p in trained if id(p) in inside], [p for p in trained if id(p) not in inside]


def make_muon(matrices: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Muon:
    """Muon (https://kellerjordan.github.io/posts/muon/), scaled so that the rate of AdamW serves it."""
    scale = "match_rms_adamw"
    return torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn=scale)
