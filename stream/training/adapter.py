"""The trained part of a run on a frozen checkpoint: an adapter in PEFT's format, written and read."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from stream.bases.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADDED_TOKENS
from stream.errors import CheckpointError
from stream.ner.config import FILE_NAME
from stream.training.recipe import Recipe
from stream.training.tokenizer import CheckpointTokenizer

_ADAPTER = "default"


def write_adapter(
    causal: PreTrainedModel,
    weights: Mapping[str, Tensor],
    folder: Path,
    *,
    tokenizer: CheckpointTokenizer,
    recipe: Recipe,
) -> None:
    """Write adapters and trained rows in float16, with the tokens and the configuration they belong to.

    Args:
        causal: As ``add_adapters`` left it.
        weights: Its state.
        folder: A checkpoint's; the adapter gets a folder of its own inside it.
        tokenizer: Names the control tokens that the base lacks.
        recipe: Of the run.
    """
    folder = folder / "adapter"
    folder.mkdir()
    state = {stored: weights[name].to("cpu", torch.float16) for stored, name in _names(causal).items()}
    save_file(state, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    adapter = replace(causal.peft_config[_ADAPTER], inference_mode=True)
    adapter.target_modules = sorted(adapter.target_modules)  # a set, whose order no two runs share
    adapter.base_model_name_or_path = recipe.init_from.name if recipe.init_from else None
    adapter.save_pretrained(folder)
    (folder / ADDED_TOKENS).write_text(json.dumps(_added(tokenizer), indent=2) + "\n", encoding="utf-8")
    (folder / FILE_NAME).write_text(recipe.ner.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_adapter(causal: PreTrainedModel, folder: Path, tokenizer: CheckpointTokenizer) -> None:
    """Put a written adapter into a model that has a fresh one of its shape.

    Args:
        causal: As ``add_adapters`` left it.
        folder: As ``write_adapter`` wrote it.
        tokenizer: Names the control tokens.

    Raises:
        CheckpointError: The folder cannot be read, or the adapter is of another shape, scale or tokens.
    """
    try:
        state = load_file(folder / ADAPTER_WEIGHTS)
        config, added = (json.loads((folder / name).read_bytes()) for name in (ADAPTER_CONFIG, ADDED_TOKENS))
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder} holds no adapter to go on from: {error}") from error
    fresh = causal.peft_config[_ADAPTER]
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if (rank, alpha) != (fresh.r, fresh.lora_alpha):
        raise CheckpointError(f"{folder} has rank {rank} and alpha {alpha}: [lora] must say the same")
    if added != _added(tokenizer):
        raise CheckpointError(
            f"{folder} has other control tokens: [ner.template] and max_count must be its own"
        )
    parameters, names = dict(causal.named_parameters()), _names(causal)
    shapes = {stored: parameters[name].shape for stored, name in names.items()}
    if shapes != {stored: tensor.shape for stored, tensor in state.items()}:
        raise CheckpointError(f"{folder} adapts other layers: its base and [lora] targets must be this run's")
    with torch.no_grad():
        for stored, name in names.items():
            parameters[name].copy_(state[stored])


def _names(causal: PreTrainedModel) -> dict[str, str]:
    """The name in PEFT's file of every trained parameter, and the model's own."""
    trained = [name for name, value in causal.named_parameters() if value.requires_grad]
    return {f"base_model.model.{name.replace(f'.{_ADAPTER}', '')}": name for name in trained}


def _added(tokenizer: CheckpointTokenizer) -> dict[str, int]:
    return {str(tokenizer.tokenizer.id_to_token(number)): number for number in tokenizer.added}
