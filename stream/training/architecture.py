"""The parts of a causal model of any architecture, found without knowing their names."""

from torch import nn
from transformers import PreTrainedModel

from stream.errors import ConfigurationError

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
    """What a layer adds to its input: attention and feed-forward."""
    return [part for name, part in layer.named_children() if name in _ADDED_PARTS]


def sliding_window(causal: PreTrainedModel) -> int | None:
    """How far back the model's attention reaches, where that is limited in any of its layers."""
    config = causal.config.get_text_config()
    window: int | None = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    limited = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
    return window if limited else None
