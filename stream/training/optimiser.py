"""What steps the weights."""

import torch
from torch import nn

from stream.training.sections import OptimiserConfig


def adamw(model: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW over all that is not frozen; vectors (norms, biases) do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.cycles[0].learning_rate, betas=config.betas, fused=True)
