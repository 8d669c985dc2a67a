"""Shapes and architecture of a model, from its config.json, and the architectures that are served."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import CheckpointError

ROPE_TYPES = ("default", "llama3")
Config = Mapping[str, Any]

_SLIDING = "sliding_attention"


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's scaling of low rotary frequencies (``rope_type: llama3``)."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_positions: int


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embedding of a layer (RoPE, arXiv 2104.09864)."""

    base: float
    scaling: Llama3Scaling | None = None

    def inverse_frequencies(self, head_width: int) -> NDArray[np.float64]:
        """Angular step per position of each pair of a head's dimensions.

        With ``llama3`` scaling, frequencies with wavelengths beyond the original context are divided by
        ``factor``, high frequencies are kept, and those in between are interpolated.

        Returns:
            Array of shape (head_width / 2).
        """
        steps = self.base ** -(np.arange(0, head_width, 2, dtype=np.float64) / head_width)
        scaling = self.scaling
        if scaling is None:
            return steps
        turns = scaling.original_positions * steps / (2 * math.pi)
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
        blended: NDArray[np.float64] = steps * (kept + (1.0 - kept) / scaling.factor)
        return blended


@dataclass(frozen=True, slots=True)
class Family:
    """Differences of an architecture's layers from Llama's.

    Attributes:
        activation: Of the gated MLP, as config.json names it: ``silu`` or ``gelu_pytorch_tanh``.
        post_norms: Whether attention and MLP have an RMSNorm after them too, gains are stored minus 1, and
            embeddings are multiplied by the square root of their width (Gemma 3).
        slides: Whether ``sliding_window`` alone limits attention; otherwise ``use_sliding_window`` must be
            true as well.
    """

    activation: str = "silu"
    post_norms: bool = False
    slides: bool = False


FAMILIES = {
    "LlamaForCausalLM": Family(),
    "MistralForCausalLM": Family(slides=True),
    "Qwen2ForCausalLM": Family(),
    "Qwen3ForCausalLM": Family(),
    "Gemma3ForCausalLM": Family("gelu_pytorch_tanh", post_norms=True, slides=True),
}
"""The architectures that are served."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Shapes and constants of a decoder-only transformer with rotary positions and a gated MLP.

    Attributes:
        heads: Query heads; a multiple of ``kv_heads`` (grouped-query attention).
        head_width: Width of one head; ``heads * head_width`` may differ from ``hidden``.
        max_positions: Maximum length of a sequence, in tokens, answer included.
        rotaries: One for every layer.
        tied: Whether the output head is the embedding itself.
        attention_scale: Factor of the products of queries and keys.
        family: Differences of its layers from Llama's.
    """

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    max_positions: int
    norm_epsilon: float
    rotaries: tuple[Rotary, ...]
    tied: bool
    attention_scale: float
    family: Family = FAMILIES["LlamaForCausalLM"]

    @property
    def kv_width(self) -> int:
        """Width of one token's keys (and of its values) in one layer."""
        return self.kv_heads * self.head_width

    @classmethod
    def read(cls, config: Config, *, tied: bool) -> "ModelSpec":
        """Read a configuration that ``refuse_unserved`` accepted.

        Args:
            config: The content of config.json.
            tied: Whether the output head is the embedding itself.

        Raises:
            KeyError: A field is missing.
            TypeError: A field has another type.
            ValueError: A field has another value.
        """
        family = FAMILIES[config["architectures"][0]]
        heads, hidden, layers = (
            int(config[field]) for field in ("num_attention_heads", "hidden_size", "num_hidden_layers")
        )
        head_width = int(config.get("head_dim") or hidden // heads)
        positions, window = int(config["max_position_embeddings"]), _window(config, family)
        return cls(
            vocabulary=int(config["vocab_size"]),
            hidden=hidden,
            layers=layers,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_width=head_width,
            # Within the window, sliding attention is full attention.
            max_positions=min(positions, window or positions),
            norm_epsilon=float(config["rms_norm_eps"]),
            rotaries=tuple(_rotary(config, kind) for kind in _layer_kinds(config, family, layers)),
            tied=tied,
            attention_scale=float(config.get("query_pre_attn_scalar") or head_width) ** -0.5,
            family=family,
        )


def refuse_unserved(config: Config, path: Path) -> None:
    """Refuse a model that the engine cannot run.

    Args:
        config: The content of config.json.
        path: That file, for the message.

    Raises:
        CheckpointError: The engine cannot run it. The message names the field and the served values.
    """
    architecture = next(iter(config.get("architectures") or ()), None)
    family = FAMILIES.get(str(architecture))
    if family is None:
        raise CheckpointError(
            f"{path}: architecture {architecture} is not served; served are {', '.join(FAMILIES)}"
        )
    for rope in _ropes(config):
        if _rope_type(rope) not in ROPE_TYPES:
            raise CheckpointError(
                f"{path}: rope type {_rope_type(rope)!r} is not served; served are {', '.join(ROPE_TYPES)}"
            )
    activation = "hidden_activation" if "hidden_activation" in config else "hidden_act"
    refusals = {
        activation: config.get(activation, family.activation) != family.activation,
        "quantization_config": bool(config.get("quantization_config")),
        "attn_logit_softcapping": bool(config.get("attn_logit_softcapping")),
        "final_logit_softcapping": bool(config.get("final_logit_softcapping")),
        "use_bidirectional_attention": bool(config.get("use_bidirectional_attention")),
        "partial_rotary_factor": config.get("partial_rotary_factor", 1.0) != 1.0
        or any(rope.get("partial_rotary_factor", 1.0) != 1.0 for rope in _ropes(config)),
    }
    for field, refused in refusals.items():
        if refused:
            raise CheckpointError(
                f"{path}: {field} = {config.get(field)!r} is not served; of {architecture} served are "
                f"unquantised models with causal attention, full rotary positions and {family.activation}"
            )


def _window(config: Config, family: Family) -> int | None:
    """Attention window of the sliding layers, in tokens; None where all attention is full."""
    if family.slides or config.get("use_sliding_window"):
        window: int | None = config.get("sliding_window")
        return window
    return None


def _layer_kinds(config: Config, family: Family, layers: int) -> list[str]:
    """Layer type of each layer, which selects its rotary parameters in families with two sets."""
    if not family.post_norms:
        return [""] * layers
    every = int(config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6)
    kinds = config.get("layer_types") or [
        "full_attention" if (layer + 1) % every == 0 else _SLIDING for layer in range(layers)
    ]
    if len(kinds) != layers:
        raise ValueError(f"layer_types names {len(kinds)} layers, num_hidden_layers {layers}")
    return list(map(str, kinds))


def _ropes(config: Config) -> list[Config]:
    # "rope_parameters" since transformers 5, "rope_scaling" before.
    rope: Config = config.get("rope_parameters") or config.get("rope_scaling") or {}
    nested = [each for each in rope.values() if isinstance(each, Mapping)]
    return nested or [rope]


def _rotary(config: Config, kind: str) -> Rotary:
    parameters: Config = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope: Config = parameters.get(kind) or ({} if kind == _SLIDING else parameters)
    base, usual = config.get("rope_theta"), 10_000.0
    if kind:
        base, usual = (
            (config.get("rope_local_base_freq"), 10_000.0) if kind == _SLIDING else (base, 1_000_000.0)
        )
    scaling = None
    if _rope_type(rope) == "llama3":
        scaling = Llama3Scaling(
            factor=float(rope["factor"]),
            low_frequency_factor=float(rope["low_freq_factor"]),
            high_frequency_factor=float(rope["high_freq_factor"]),
            original_positions=int(rope["original_max_position_embeddings"]),
        )
    return Rotary(float(rope.get("rope_theta") or base or usual), scaling)


def _rope_type(rope: Config) -> str:
    return str(rope.get("rope_type") or rope.get("type") or "default")
