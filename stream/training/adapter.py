"""The trained part of a run on a frozen checkpoint: an adapter in PEFT's format."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from stream.bases.adapter import ADAPTER_WEIGHTS, ADDED_TOKENS
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
    trained = {name for name, value in causal.named_parameters() if value.requires_grad}
    state = {
        f"base_model.model.{name.replace(f'.{_ADAPTER}', '')}": weights[name].to("cpu", torch.float16)
        for name in trained
    }
    save_file(state, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    adapter = replace(causal.peft_config[_ADAPTER], inference_mode=True)
    adapter.base_model_name_or_path = recipe.init_from.name if recipe.init_from else None
    adapter.save_pretrained(folder)
    added = {tokenizer.tokenizer.id_to_token(number): number for number in tokenizer.added}
    (folder / ADDED_TOKENS).write_text(json.dumps(added, indent=2) + "\n", encoding="utf-8")
    (folder / FILE_NAME).write_text(recipe.ner.model_dump_json(indent=2) + "\n", encoding="utf-8")
