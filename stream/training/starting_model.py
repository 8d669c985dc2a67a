"""The causal model that a run starts from: a checkpoint, or a fresh one and its language modelling."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
import torch
from transformers import PreTrainedModel

from stream.engine.model.checkpoint import CONFIG_FILE
from stream.engine.model.config import refuse_unserved
from stream.errors import CheckpointError, ConfigurationError
from stream.training.adapted_products import fuse_adapters
from stream.training.adapter import read_adapter
from stream.training.causal import build_model, decoder_layers, load_causal
from stream.training.export import export
from stream.training.lora import add_adapters
from stream.training.metrics import Metrics
from stream.training.preparation import plain_stream
from stream.training.pretraining import pretrain
from stream.training.product_type import in_bfloat16
from stream.training.recipe import Recipe
from stream.training.sections import PretrainingConfig
from stream.training.tokenizer import CheckpointTokenizer, begins_sequences

log = structlog.get_logger(__name__)


def engine_refusal(config: Mapping[str, Any]) -> str | None:
    """The CPU engine's reason to refuse a model of a configuration; None where it serves it."""
    try:
        refuse_unserved(dict(config), Path(CONFIG_FILE))
    except CheckpointError as error:
        return str(error).removeprefix(f"{CONFIG_FILE}: ")
    return None


def starting_model(recipe: Recipe, tokenizer: CheckpointTokenizer, device: torch.device) -> PreTrainedModel:
    """A checkpoint with or without adapters, or a fresh model.

    Raises:
        ConfigurationError: The checkpoint or the shape is wrong; or a baseline, which the engine scores, is
            of an architecture that the engine does not run.
    """
    dtype: torch.dtype = getattr(torch, recipe.training.weights)
    if recipe.init_from:
        model = load_causal(recipe.init_from, tokenizer, _attention(device), dtype)
        _check(model, recipe, tokenizer)
        if recipe.lora:
            # FSDP parts weights of one type only.
            add_adapters(model, recipe.lora, list(tokenizer.added), rounded=recipe.sharded)
            if recipe.lora.initial:
                read_adapter(model, recipe.lora.initial, tokenizer)
            if device.type == "cpu" and not recipe.sharded:
                fuse_adapters(model)
        return model.to(device)
    model = _fresh(recipe, tokenizer, device)
    _check(model, recipe, tokenizer)
    for parameter in model.parameters():  # alone: positions stay float32
        parameter.data = parameter.data.to(dtype)
    return model.to(device)


def pretrained_folder(
    recipe: Recipe,
    stage: PretrainingConfig,
    tokenizer: CheckpointTokenizer,
    device: torch.device,
    metrics: Metrics,
) -> Path:
    """The checkpoint of the run's language modelling, made once and kept in its output folder."""
    folder = recipe.output / "pretrained"
    if folder.exists():
        return folder
    metrics.rewind(-1)
    torch.manual_seed(recipe.seed)
    model = _fresh(recipe, tokenizer, device).to(device)
    stream = plain_stream(recipe, stage, tokenizer)
    bf16 = in_bfloat16(device, recipe.training.bf16_autocast)
    loss = pretrain(model, stream, stage, device, recipe.seed, bf16=bf16)
    metrics.write("pretrained", 0, loss=round(loss, 4))
    weights = model.state_dict()
    export(model, weights, folder, tokenizer=tokenizer, config=recipe.exported, dtype=torch.float16)
    return folder


def _fresh(recipe: Recipe, tokenizer: CheckpointTokenizer, device: torch.device) -> PreTrainedModel:
    attention = _attention(device)
    return build_model(recipe.model, tokenizer.size, tokenizer.end_id, tokenizer.pad_id, attention)


def _attention(device: torch.device) -> str:
    return "sdpa" if device.type == "cuda" else "eager"


def _check(model: PreTrainedModel, recipe: Recipe, tokenizer: CheckpointTokenizer) -> None:
    layers = len(decoder_layers(model))
    if recipe.losses.deepest_layer > layers:
        raise ConfigurationError(
            f"an auxiliary loss reads layer {recipe.losses.deepest_layer}, the model has {layers}: "
            "lower [losses] tagging_layer and mention_index_layer"
        )
    first = begins_sequences(tokenizer.tokenizer)
    if first and not recipe.ner.template.text.startswith(first):
        log.warning("the model expects a token before every text", token=first, fix="[ner.template] text")
    refusal = engine_refusal(model.config.to_dict() | {"architectures": [type(model).__name__]})
    if refusal and recipe.baseline:
        raise ConfigurationError(f"a baseline is scored by the CPU engine, which refuses it: {refusal}")
    if refusal:
        log.warning("the CPU engine will not serve this model; TensorRT-LLM may", reason=refusal)
