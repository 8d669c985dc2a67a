"""The causal model that a run starts from."""

from pathlib import Path

import structlog
import torch
from transformers import PreTrainedModel

from stream.engine.model.checkpoint import CONFIG_FILE
from stream.engine.model.config import refuse_unserved
from stream.errors import CheckpointError, ConfigurationError
from stream.training.adapted_products import fuse_adapters
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


def engine_refusal(model: PreTrainedModel) -> str | None:
    """Why the CPU engine would refuse a model, and what it serves instead; None where it serves it."""
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    try:
        refuse_unserved(config, Path(CONFIG_FILE))
    except CheckpointError as error:
        return str(error).removeprefix(f"{CONFIG_FILE}: ")
    return None


log = structlog.get_logger(__name__)


def starting_model(
    recipe: Recipe, tokenizer: CheckpointTokenizer, device: torch.device, metrics: Metrics
) -> PreTrainedModel:
    """A checkpoint, or a model that this run has pre-trained, or a fresh one.

    Raises:
        ConfigurationError: The checkpoint or the shape is wrong; or a baseline, which the engine scores, is
            of an architecture that the engine does not run.
    """
    attention = "sdpa" if device.type == "cuda" else "eager"
    dtype: torch.dtype = getattr(torch, recipe.optimiser.weights)
    if recipe.initial:
        model = load_causal(recipe.initial, tokenizer, attention, dtype)
        _check(model, recipe, tokenizer)
        if recipe.lora:
            # FSDP parts weights of one type only.
            add_adapters(model, recipe.lora, list(tokenizer.added), rounded=recipe.sharded)
            if device.type == "cpu" and not recipe.sharded:
                fuse_adapters(model)
        return model.to(device)
    model = build_model(recipe.model, tokenizer.size, tokenizer.end_id, tokenizer.pad_id, attention)
    _check(model, recipe, tokenizer)
    if recipe.pretraining:
        folder = recipe.output / "pretrained"
        if not folder.exists():
            _pretrain(model.to(device), recipe, recipe.pretraining, tokenizer, metrics)
        # Both a run that has just written it and one that finds it go on from the folder alike.
        model = load_causal(folder, tokenizer, attention)
        torch.manual_seed(recipe.seed)
    for parameter in model.parameters():  # alone: positions stay float32
        parameter.data = parameter.data.to(dtype)
    return model.to(device)


def _pretrain(
    model: PreTrainedModel,
    recipe: Recipe,
    stage: PretrainingConfig,
    tokenizer: CheckpointTokenizer,
    metrics: Metrics,
) -> None:
    stream = plain_stream(recipe, stage, tokenizer)
    rounded = in_bfloat16(model.device, recipe.optimiser.bfloat16_products)
    loss = pretrain(model, stream, stage, model.device, recipe.seed, bfloat16=rounded)
    metrics.write("pretrained", 0, loss=round(loss, 4))
    weights, folder = model.state_dict(), recipe.output / "pretrained"
    export(model, weights, folder, tokenizer=tokenizer, config=recipe.exported, dtype=torch.float16)


def _check(model: PreTrainedModel, recipe: Recipe, tokenizer: CheckpointTokenizer) -> None:
    layers = len(decoder_layers(model))
    if recipe.losses.deepest_layer > layers:
        raise ConfigurationError(
            f"an auxiliary loss reads layer {recipe.losses.deepest_layer}, the model has {layers}: "
            "lower [losses] tagging_layer and ordinal_layer"
        )
    first = begins_sequences(tokenizer.tokenizer)
    if first and not recipe.ner.template.text.startswith(first):
        log.warning("the model expects a token before every text", token=first, mend="[ner.template] text")
    refusal = engine_refusal(model)
    if refusal and recipe.baseline:
        raise ConfigurationError(f"a baseline is scored by the CPU engine, which refuses it: {refusal}")
    if refusal:
        log.warning("the CPU engine will not serve this model; TensorRT-LLM may", reason=refusal)
