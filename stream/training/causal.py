"""Causal models to start from: fresh ones of any architecture, and checkpoints of ours or of others."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from stream.errors import ConfigurationError
from stream.training.initial_values import set_initial_values
from stream.training.sections import ModelConfig
from stream.training.tokenizer import CheckpointTokenizer


def build_model(
    config: ModelConfig, vocabulary: int, end_id: int, pad_id: int, attention: str = "eager"
) -> PreTrainedModel:
    """A fresh model with the initial values that make copying start early.

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
