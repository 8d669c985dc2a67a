"""Causal models to start from: fresh ones of any architecture, and checkpoints of ours or of others."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from stream.errors import ConfigurationError
from stream.training.sections import ModelConfig
from stream.training.tokenizer import CheckpointTokenizer

_ADDED_PARTS = ("self_attn", "attention", "attn", "self_attention", "mlp", "feed_forward")


def decoder_layers(causal: PreTrainedModel) -> nn.ModuleList:
    """The layers, first to last.

    Raises:
        ConfigurationError: The model has no list of layers.
    """
    wanted = causal.config.get_text_config().num_hidden_layers
    for part in causal.base_model.modules():
        if isinstance(part, nn.ModuleList) and len(part) == wanted:
            return part
    raise ConfigurationError(f"{type(causal).__name__} has no list of {wanted} layers: it cannot be trained")


def added_parts(layer: nn.Module) -> list[nn.Module]:
    """The modules of a layer that add to the residual stream: attention and feed-forward."""
    return [part for name, part in layer.named_children() if name in _ADDED_PARTS]


def sliding_window(causal: PreTrainedModel) -> int | None:
    """Reach of the model's attention in tokens, where any of its layers limits it; else None."""
    config = causal.config.get_text_config()
    window: int | None = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    limited = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
    return window if limited else None


_EMBEDDING_STD = 0.1
_LINEAR_STD = 0.02
_COPYING_LAYERS = 2
_OUTPUT_PROJECTIONS = ("o_proj", "out_proj", "down_proj", "dense", "c_proj", "fc2", "dense_4h_to_h")
"""transformers' names of the projections that write into the residual stream."""


def set_initial_values(model: PreTrainedModel) -> None:
    """Scale a fresh model's weights, and let its last layers copy.

    Scales: embeddings 0.1, linear layers 0.02, output projections divided by sqrt(2 x layers); a head that is
    not the embedding begins as a copy of it. In the last two layers W_V is orthogonal and W_O its transpose,
    for each query head that of the value head it reads, so attending to a token already raises its logit.
    A layer without such parts keeps the architecture's own initial values.
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


def build_model(
    config: ModelConfig, vocabulary: int, end_id: int, pad_id: int, attention: str = "eager"
) -> PreTrainedModel:
    """A fresh model whose initial values make copying start early.

    Args:
        config: Its architecture and shape.
        vocabulary: Rows of the embedding.
        end_id: The end token.
        pad_id: The padding token.
        attention: transformers' implementation. ``eager`` suits CPUs: the fused kernel makes a step slower
            there, by a tenth to a half.

    Raises:
        ConfigurationError: transformers has no causal model of that architecture, or not of that shape.
    """
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": config.hidden,
        "intermediate_size": config.feed_forward,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads or config.heads,
        "head_dim": config.hidden // config.heads,
        "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": config.tied,
        "bos_token_id": None,
        "eos_token_id": end_id,
        "pad_token_id": pad_id,
        "use_cache": False,
    }
    try:
        known = AutoConfig.for_model(config.architecture, **shape | config.options)
        model = AutoModelForCausalLM.from_config(known, attn_implementation=attention, dtype=torch.float32)
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"[model] architecture = {config.architecture!r} gives no causal model of this shape "
            f"(llama, mistral, qwen2, qwen3 and gemma3_text do): {error}"
        ) from error
    set_initial_values(model)
    return model


def load_causal(
    folder: Path, tokenizer: CheckpointTokenizer, attention: str, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A checkpoint of any architecture, with rows for the control tokens that its tokenizer was given.

    A new row is the mean of the rows of the tokens that spelled the control token before; random rows would
    have to be learned first.

    Raises:
        ConfigurationError: transformers loads no causal model from the folder.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention, use_cache=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{folder} holds no causal model that transformers loads; "
            f"`hf download NAME --local-dir FOLDER` fetches one: {error}"
        ) from error
    if len(model.get_input_embeddings().weight) < tokenizer.size:
        model.resize_token_embeddings(tokenizer.size, mean_resizing=False)
    _set_rows(model, tokenizer)
    model.config.eos_token_id, model.config.pad_token_id = tokenizer.end_id, tokenizer.pad_id
    return model


def _set_rows(model: PreTrainedModel, tokenizer: CheckpointTokenizer) -> None:
    tables = {part.weight for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for table in tables:
            for number, before in tokenizer.added.items():
                if before:
                    table[number] = table[list(before)].float().mean(0).to(table.dtype)
