"""Language modelling on plain text, the stage before the curriculum."""

import time
from collections.abc import Iterator

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from stream.errors import ConfigurationError
from stream.training.causal import decoder_layers
from stream.training.model import bf16_autocast, compiled
from stream.training.optimiser import make_muon, part_matrices
from stream.training.sections import PretrainingConfig

_LOG_STEPS = 50
log = structlog.get_logger(__name__)


def pretrain(
    model: PreTrainedModel,
    ids: NDArray[np.uint16],
    config: PretrainingConfig,
    device: torch.device,
    seed: int,
    *,
    bf16: bool,
) -> float:
    """Train a causal model on rows cut from one stream of tokens.

    Matrices inside the layers are stepped by Muon, embeddings and norms by AdamW.

    Args:
        model: Changed in place, on ``device``.
        ids: The stream; it is read again, cut at other places, as often as ``config.tokens`` takes.
        config: The stage.
        device: Where the model is.
        seed: Of the order of rows.
        bf16: Whether matrix products are in bfloat16 on a CPU too.

    Returns:
        The mean loss of the last steps, in nats a token.

    Raises:
        ConfigurationError: The stream is shorter than two rows.
    """
    if len(ids) < 2 * config.max_seq_len:
        raise ConfigurationError(
            f"the texts of [pretraining] files have {len(ids)} tokens, fewer than two rows of max_seq_len = "
            f"{config.max_seq_len}: add texts or lower it"
        )
    steps = max(1, config.tokens // config.batch_tokens)
    optimisers = _optimisers(model, config)
    stream = torch.from_numpy(ids.astype(np.int32)).to(device)
    rows = _rows(stream, config, seed)
    losses: list[Tensor] = []
    began, mean = time.monotonic(), 0.0
    model.train()
    with compiled(decoder_layers(model), device):
        for step in range(steps):
            rate = config.learning_rate * _share_of_rate(step, steps, config)
            losses.append(_step(model, optimisers, next(rows).long(), rate, bf16=bf16))
            if (step + 1) % _LOG_STEPS == 0 or step + 1 == steps:
                mean = float(torch.stack(losses).mean())
                losses.clear()
                minutes = round((time.monotonic() - began) / 60, 2)
                log.info("pretraining", step=step + 1, loss=round(mean, 4), minutes=minutes)
    return mean


def _step(
    model: PreTrainedModel,
    optimisers: list[torch.optim.Optimizer],
    ids: Tensor,
    rate: float,
    *,
    bf16: bool,
) -> Tensor:
    """Take one step; return its loss without waiting for it."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
    with bf16_autocast(ids.device, on_cpu=bf16):
        loss = _next_token_loss(model, ids)
        loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return loss.detach()


def _next_token_loss(model: PreTrainedModel, ids: Tensor) -> Tensor:
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(hidden[:, :-1]).flatten(0, 1)
    return nn.functional.cross_entropy(logits.float(), ids[:, 1:].flatten())


def _rows(stream: Tensor, config: PretrainingConfig, seed: int) -> Iterator[Tensor]:
    """Batches of rows without end; every epoch is cut at a new offset and shuffled anew."""
    width = config.max_seq_len
    rows = min(max(1, config.batch_tokens // width), len(stream) // width - 1)
    generator = torch.Generator().manual_seed(seed)
    inside = torch.arange(width, device=stream.device)
    while True:
        offset = int(torch.randint(width, (1,), generator=generator))
        starts = torch.arange(offset, len(stream) - width, width)
        starts = starts[torch.randperm(len(starts), generator=generator)].to(stream.device)
        for first in range(0, len(starts) - rows + 1, rows):
            yield stream[starts[first : first + rows, None] + inside]


def _share_of_rate(step: int, steps: int, config: PretrainingConfig) -> float:
    rise = min(1.0, (step + 1) / config.warm_up_steps)
    fall = min(1.0, 0.05 + 0.95 * (1 - step / steps) / config.decay)
    return rise * fall


def _optimisers(model: PreTrainedModel, config: PretrainingConfig) -> list[torch.optim.Optimizer]:
    matrices, rest = part_matrices(model, decoder_layers(model))
    return [
        make_muon(matrices, config.learning_rate, config.weight_decay),
        torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
