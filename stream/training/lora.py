"""Low-rank adapters (LoRA, arXiv 2106.09685) on a frozen checkpoint, and their merging into its weights."""

from collections.abc import Mapping, Sequence

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from stream.errors import ConfigurationError
from stream.training.sections import AdapterConfig

# peft's names of its additions.
_TABLE, _BASE = "token_adapter.", "base_layer."
_ROWS = f"{_TABLE}trainable_tokens_delta.default"
_DOWN, _UP = "lora_A.default.weight", "lora_B.default.weight"


def add_adapters(
    causal: PreTrainedModel, config: AdapterConfig, rows: Sequence[int], *, rounded: bool = False
) -> None:
    """Freeze a model and put adapters on its linear layers, in place.

    Args:
        causal: Afterwards only adapters and the given rows can be trained.
        config: Rank, scale and layers of the adapters.
        rows: Ids whose rows of the embedding, and of a head of its own, are trained themselves: the control
            tokens that the checkpoint never saw.
        rounded: Adapters have the type of the model's weights, or else float32 where these have 16 bits.

    Raises:
        ConfigurationError: No layer has a name that is adapted, or the model's layers are of another kind.
    """
    tables = [causal.get_input_embeddings(), causal.get_output_embeddings()]
    if getattr(tables[1], "bias", None) is not None:
        raise ConfigurationError(f"{type(causal).__name__} has a bias in its head: LoRA cannot adapt it here")
    if tables[1].weight is tables[0].weight:
        tables.pop()  # peft keeps a tied head equal to the embedding
    names = [name for name, part in causal.named_modules() if any(part is table for table in tables)]
    wanted = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.targets) or "all-linear",
        trainable_token_indices={name: list(rows) for name in names} if rows else None,
    )
    try:
        get_peft_model(causal, wanted, autocast_adapter_dtype=not rounded)
    except ValueError as error:
        raise ConfigurationError(f"[lora] targets = {list(config.targets)}: {error}") from error
    adapted = [part for part in causal.modules() if isinstance(part, LoraLayer)]
    if not all(isinstance(part.get_base_layer(), nn.Linear) for part in adapted):
        raise ConfigurationError(
            f"LoRA adapts linear layers, and {type(causal).__name__} has others: leave [lora] out, or name "
            "its linear layers in targets"
        )


def merged(
    weights: Mapping[str, Tensor], config: AdapterConfig, rows: Sequence[int], dtype: torch.dtype
) -> dict[str, Tensor]:
    """The weights of a model with adapters, under the names and with the values of one without.

    W + alpha / rank x B A, in float32 and then rounded, one weight after another; rows that were trained
    themselves replace the checkpoint's.

    Args:
        weights: State of the model that ``add_adapters`` changed, on one device.
        config: As it was given there.
        rows: As they were given there.
        dtype: Of what is merged.
    """
    plain = {}
    for name, weight in weights.items():
        if not name.endswith((_DOWN, _UP, _ROWS)):
            plain[name.replace(_TABLE, "").replace(_BASE, "")] = weight
    for name, weight in weights.items():
        layer, table = name.removesuffix(_UP), name.removesuffix(_ROWS)
        if layer != name:
            change = config.alpha / config.rank * (weight.float() @ weights[layer + _DOWN].float())
            plain[layer + "weight"] = (plain[layer + "weight"].float() + change).to(dtype)
        elif table != name:
            place = torch.tensor(rows, device=weight.device)
            whole = plain[table + "weight"].to(dtype)
            plain[table + "weight"] = whole.index_copy(0, place, weight.to(dtype))
    return plain
