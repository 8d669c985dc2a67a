"""The model in training: a causal model with a BIO tagging head and a mention index head, both temporary."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from stream.errors import ConfigurationError
from stream.training.causal import added_parts, decoder_layers, sliding_window
from stream.training.packing import IGNORED, PackedBatch, count_targets
from stream.training.sections import LossConfig


def choose_device(name: str) -> torch.device:
    """The device a recipe names; ``auto`` is a GPU where there is one.

    Raises:
        ConfigurationError: A GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError('device = "cuda", but torch sees no GPU here: use "cpu" or "auto"')
    return torch.device(name)


@contextmanager
def bf16_autocast(device: torch.device, *, on_cpu: bool) -> Iterator[None]:
    """Matrix products in bfloat16 (sums in float32): always on a GPU, on a CPU where that is asked for."""
    with torch.autocast(device.type, torch.bfloat16, enabled=on_cpu or device.type == "cuda"):
        yield


@contextmanager
def compiled(layers: nn.ModuleList, device: torch.device) -> Iterator[None]:
    """On a GPU, fuse the kernels of each layer; one compilation serves all, since they are alike.

    Undone afterwards: a copy of a layer would go on calling the layer that it was copied from.
    """
    if device.type != "cuda":
        yield
        return
    for layer in layers:
        layer.forward = torch.compile(layer.forward, dynamic=True)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def to_device(values: Any, device: torch.device) -> torch.Tensor:
    """A numpy array on the device."""
    return torch.from_numpy(values).to(device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Losses:
    """The weighted sum for the gradient, and its detached parts for the log."""

    total: Tensor
    parts: dict[str, Tensor]


# torch is not installed where types are checked.
class TrainingModel(nn.Module):  # type: ignore[misc]
    """The causal model with its auxiliary heads, and the loss of a packed batch.

    Args:
        causal: The model that is exported in the end.
        phrases: Number of phrases with BIO tags of their own.
        max_count: Highest mention index.
        none_id: Id that answers a count prompt with 0; None where the format has no counts.
        dropout: Share dropped of embeddings and of what attention and feed-forward add, in training only.
    """

    def __init__(
        self,
        causal: PreTrainedModel,
        *,
        phrases: int,
        max_count: int,
        none_id: int | None,
        weights: LossConfig,
        dropout: float,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.weights = weights
        self._window = sliding_window(causal)
        bias = torch.zeros(causal.get_output_embeddings().weight.shape[0])
        if none_id is not None:
            bias[none_id] = weights.none_bias
        self.register_buffer("_answer_bias", bias, persistent=False)
        hidden = causal.config.get_text_config().hidden_size
        self.tagging = nn.Linear(hidden, 1 + 2 * phrases, dtype=causal.dtype)
        self.mention_index = nn.Linear(hidden, 1 + max_count, dtype=causal.dtype)
        if dropout:
            self._add_dropout(dropout)

    def forward(self, batch: PackedBatch, targets: Mapping[str, int] | None = None) -> Losses:
        """The loss of a batch; parts without any target count as 0.

        Args:
            batch: Packed trees.
            targets: Where the batch is a share of a larger one, the targets of that for each loss: the losses
                of all shares then add up to the loss of the whole.
        """
        states = self._hidden_states(batch)
        last = states[-1]
        parts = {"answers": self._predict(last, batch.answers, self._answer_bias)}
        weights = self.weights
        if weights.language_model:
            parts["language_model"] = self._predict(last, batch.next_tokens)
        if weights.tagging:
            parts["tagging"] = self._tagging_loss(states[weights.tagging_layer], batch)
        if weights.mention_index:
            parts["mention_index"] = _loss(
                self.mention_index, states[weights.mention_index_layer], batch.mention_indices
            )
        if targets is not None:
            own = count_targets(batch)
            parts = {name: part * (own[name] / max(1, targets[name])) for name, part in parts.items()}
        total = parts["answers"]
        for name in ("language_model", "tagging", "mention_index"):
            if name in parts:
                total = total + getattr(weights, name) * parts[name]
        if targets is not None:
            # A share without tags needs gradients too: another share may have tags.
            heads = (*self.tagging.parameters(), *self.mention_index.parameters())
            total = total + sum(parameter.sum() for parameter in heads) * 0.0
        return Losses(total, {name: part.detach() for name, part in parts.items()})

    def answer_loss(self, batch: PackedBatch) -> Tensor:
        """Summed cross-entropy of all answers, for comparison with separate sequences."""
        states, targets = _chosen(self._hidden_states(batch)[-1], batch.answers)
        head = self.causal.get_output_embeddings()
        return nn.functional.cross_entropy(_logits(head, states), targets, reduction="sum")

    def _hidden_states(self, batch: PackedBatch) -> tuple[Tensor, ...]:
        if self._window is not None and batch.positions.max() >= self._window:
            raise ConfigurationError(
                f"a prompt of {batch.positions.max() + 1} tokens is longer than the model's sliding window "
                f"of {self._window}: lower [augmentation] max_text_tokens"
            )
        dtype, device = self.causal.dtype, self.causal.device
        mask = to_device(batch.mask, device)[:, None]
        if self.causal.config._attn_implementation != "sdpa":  # noqa: SLF001 - it has no other name
            least = torch.finfo(dtype).min
            mask = torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill_(~mask, least)
        output = self.causal.base_model(
            input_ids=to_device(batch.ids, device),
            position_ids=to_device(batch.positions, device),
            attention_mask=mask,
            output_hidden_states=True,
            use_cache=False,
        )
        return (*output.hidden_states[:-1], output.last_hidden_state)

    def _predict(self, states: Tensor, targets: NDArray[np.int64], bias: Tensor | float = 0.0) -> Tensor:
        return _loss(self.causal.get_output_embeddings(), states, targets, bias)

    def _tagging_loss(self, states: Tensor, batch: PackedBatch) -> Tensor:
        """Cross-entropy over the tags of phrases that the text's corpus annotates; others are left open."""
        if not (batch.bio_tags != IGNORED).any():
            return states.sum() * 0.0
        allowed = np.zeros((len(batch.known), self.tagging.out_features), dtype=np.bool_)
        allowed[:, 0] = True
        for row, numbers in enumerate(batch.known):
            for number in numbers:
                allowed[row, 1 + 2 * number : 3 + 2 * number] = True
        trees = batch.inventories[batch.bio_tags != IGNORED]
        chosen, targets = _chosen(states, batch.bio_tags)
        logits = _logits(self.tagging, chosen)
        logits = logits.masked_fill(~to_device(allowed[trees], logits.device), -1e9)
        return nn.functional.cross_entropy(logits, targets)

    def _add_dropout(self, share: float) -> None:
        def drop(module: nn.Module, _inputs: object, output: object) -> object:
            if not module.training:
                return output
            if isinstance(output, tuple):
                return (nn.functional.dropout(output[0], share), *output[1:])
            return nn.functional.dropout(output, share)

        parts = [part for layer in decoder_layers(self.causal) for part in added_parts(layer)]
        for module in (self.causal.get_input_embeddings(), *parts):
            module.register_forward_hook(drop)


def _loss(head: nn.Module, states: Tensor, targets: NDArray[np.int64], bias: Tensor | float = 0.0) -> Tensor:
    """Mean cross-entropy over the tokens that have a target; the head sees no others."""
    if not (targets != IGNORED).any():
        return states.sum() * 0.0
    chosen, wanted = _chosen(states, targets)
    return nn.functional.cross_entropy(_logits(head, chosen) + bias, wanted)


def _logits(head: nn.Module, states: Tensor) -> Tensor:
    """In float32: a softmax over rounded logits would be coarse."""
    logits: Tensor = head(states)
    return logits if logits.dtype == torch.float64 else logits.float()


def _chosen(states: Tensor, targets: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """States and targets of the tokens that have one; chosen on the host, so that no GPU is waited for."""
    flat = targets.reshape(-1)
    places = np.flatnonzero(flat != IGNORED)
    return (
        states.flatten(0, 1).index_select(0, to_device(places, states.device)),
        to_device(flat[places], states.device),
    )
