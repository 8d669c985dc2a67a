"""The model in training: a plain ``LlamaForCausalLM`` and two heads that are thrown away afterwards."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from stream.training.config import LossConfig, ModelConfig
from stream.training.device import to_device
from stream.training.packing import IGNORED, Batch

_EMBEDDING_STD = 0.1
_LINEAR_STD = 0.02
_COPYING_LAYERS = 2


@dataclass(frozen=True, slots=True)
class Losses:
    """The weighted sum to descend, and its parts, cut off from the graph, for the log."""

    total: Tensor
    parts: dict[str, Tensor]


def build_model(
    config: ModelConfig, vocabulary: int, end_id: int, pad_id: int, attention: str = "eager"
) -> LlamaForCausalLM:
    """A fresh model with the initial values that make copying start early.

    Scales: embeddings 0.1, linear layers 0.02, output projections divided by sqrt(2 x layers). In the last
    two layers W_V is orthogonal and W_O its transpose: attending to a token already speaks for writing it.

    Args:
        config: Its shape.
        vocabulary: Rows of the embedding.
        end_id: The end token.
        pad_id: The padding token.
        attention: transformers' implementation. ``eager`` suits CPUs: the fused kernel is four times slower
            where products are rounded to bfloat16.
    """
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=config.hidden,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.max_positions,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=end_id,
            pad_token_id=pad_id,
            attn_implementation=attention,
            use_cache=False,
        )
    )
    _initialise(model)
    return model


def _initialise(model: LlamaForCausalLM) -> None:
    layers = model.model.layers
    narrow = _LINEAR_STD / math.sqrt(2 * len(layers))
    nn.init.normal_(model.model.embed_tokens.weight, std=_EMBEDDING_STD)
    for number, layer in enumerate(layers):
        attention, feed_forward = layer.self_attn, layer.mlp
        wide = (
            attention.q_proj,
            attention.k_proj,
            attention.v_proj,
            feed_forward.gate_proj,
            feed_forward.up_proj,
        )
        for linear in wide:
            nn.init.normal_(linear.weight, std=_LINEAR_STD)
        nn.init.normal_(attention.o_proj.weight, std=narrow)
        nn.init.normal_(feed_forward.down_proj.weight, std=narrow)
        if number >= len(layers) - _COPYING_LAYERS:
            nn.init.orthogonal_(attention.v_proj.weight)
            with torch.no_grad():
                attention.o_proj.weight.copy_(attention.v_proj.weight.T)


# torch is not installed where types are checked.
class TrainingModel(nn.Module):  # type: ignore[misc]
    """The causal model with its auxiliary heads, and the loss of a packed batch.

    Args:
        causal: What is exported in the end.
        phrases: Number of phrases that tags tell apart.
        max_count: Highest ordinal.
        dropout: Applied to embeddings and to what attention and feed-forward layers add, in training only.
    """

    def __init__(
        self, causal: LlamaForCausalLM, *, phrases: int, max_count: int, weights: LossConfig, dropout: float
    ) -> None:
        super().__init__()
        self.causal = causal
        self.weights = weights
        hidden = causal.config.hidden_size
        self.tagging = nn.Linear(hidden, 1 + 2 * phrases)
        self.ordinal = nn.Linear(hidden, 1 + max_count)
        if dropout:
            self._add_dropout(dropout)

    def losses(self, batch: Batch) -> Losses:
        """The loss of a batch; parts without any target count as 0."""
        states = self._hidden_states(batch)
        last = states[-1]
        parts = {"answers": self._predict(last, batch.answers)}
        weights = self.weights
        total = parts["answers"]
        if weights.language_model:
            parts["language_model"] = self._predict(last, batch.next_tokens)
            total = total + weights.language_model * parts["language_model"]
        if weights.tagging:
            parts["tagging"] = self._tagging_loss(states[weights.tagging_layer], batch)
            total = total + weights.tagging * parts["tagging"]
        if weights.ordinal:
            parts["ordinal"] = _loss(self.ordinal, states[weights.ordinal_layer], batch.ordinals)
            total = total + weights.ordinal * parts["ordinal"]
        return Losses(total, {name: part.detach() for name, part in parts.items()})

    def answer_loss(self, batch: Batch) -> Tensor:
        """Summed cross-entropy of all answers, for comparison with separate sequences."""
        states, targets = _chosen(self._hidden_states(batch)[-1], batch.answers)
        return nn.functional.cross_entropy(self.causal.lm_head(states), targets, reduction="sum")

    def _hidden_states(self, batch: Batch) -> tuple[Tensor, ...]:
        weight = self.causal.model.embed_tokens.weight
        mask = to_device(batch.mask, weight.device)[:, None]
        if self.causal.config._attn_implementation != "sdpa":  # noqa: SLF001 - set by build_model, and no other name
            least = torch.finfo(weight.dtype).min
            mask = torch.zeros(mask.shape, dtype=weight.dtype, device=weight.device).masked_fill_(
                ~mask, least
            )
        output = self.causal.model(
            input_ids=to_device(batch.ids, weight.device),
            position_ids=to_device(batch.positions, weight.device),
            attention_mask=mask,
            output_hidden_states=True,
            use_cache=False,
        )
        return (*output.hidden_states[:-1], output.last_hidden_state)

    def _predict(self, states: Tensor, targets: NDArray[np.int64]) -> Tensor:
        return _loss(self.causal.lm_head, states, targets)

    def _tagging_loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy over the tags that the text's corpus marks: what it does not mark may be anything."""
        if not (batch.tags != IGNORED).any():
            return states.sum() * 0.0
        allowed = np.zeros((len(batch.known), self.tagging.out_features), dtype=np.bool_)
        allowed[:, 0] = True
        for row, numbers in enumerate(batch.known):
            for number in numbers:
                allowed[row, 1 + 2 * number : 3 + 2 * number] = True
        trees = batch.inventories[batch.tags != IGNORED]
        chosen, targets = _chosen(states, batch.tags)
        logits = self.tagging(chosen)
        logits = logits.masked_fill(~to_device(allowed[trees], logits.device), -1e9)
        return nn.functional.cross_entropy(logits, targets)

    def _add_dropout(self, share: float) -> None:
        def drop(module: nn.Module, _inputs: object, output: object) -> object:
            if not module.training:
                return output
            if isinstance(output, tuple):
                return (nn.functional.dropout(output[0], share), *output[1:])
            return nn.functional.dropout(output, share)

        inner = self.causal.model
        for module in (
            inner.embed_tokens,
            *(part for layer in inner.layers for part in (layer.self_attn, layer.mlp)),
        ):
            module.register_forward_hook(drop)


def _loss(head: nn.Module, states: Tensor, targets: NDArray[np.int64]) -> Tensor:
    """Mean cross-entropy over the tokens that have a target; the head sees no others."""
    if not (targets != IGNORED).any():
        return states.sum() * 0.0
    chosen, wanted = _chosen(states, targets)
    return nn.functional.cross_entropy(head(chosen), wanted)


def _chosen(states: Tensor, targets: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """States and targets of the tokens that have one; chosen on the host, so that no GPU is waited for."""
    flat = targets.reshape(-1)
    places = np.flatnonzero(flat != IGNORED)
    return (
        states.flatten(0, 1).index_select(0, to_device(places, states.device)),
        to_device(flat[places], states.device),
    )
