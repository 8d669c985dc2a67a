"""A Hugging Face model folder, read into what the graph builder needs: shapes and fp32 weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy, so that safetensors can hand it over
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from stream.errors import CheckpointError

ARCHITECTURES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
ROPE_TYPES = ("default", "llama3")
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's stretching of low rotary frequencies (``rope_type: llama3``)."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_positions: int


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Shapes and constants of a decoder-only transformer with rotary positions and a gated MLP.

    Attributes:
        heads: Query heads; a multiple of ``kv_heads`` (grouped-query attention).
        head_width: Width of one head; ``heads * head_width`` may differ from ``hidden``.
        max_positions: Longest sequence, in tokens, answer included.
        tied: Whether the output head is the embedding itself.
    """

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    max_positions: int
    norm_epsilon: float
    rope_base: float
    rope_scaling: Llama3Scaling | None
    tied: bool

    @property
    def kv_width(self) -> int:
        """Width of one token's keys (and of its values) in one layer."""
        return self.kv_heads * self.head_width


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model folder that can be run; its weights stay on disk until they are asked for.

    Attributes:
        config_file: The configuration.
        weight_files: One or several safetensors files.
    """

    spec: ModelSpec
    config_file: Path
    weight_files: tuple[Path, ...]

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """Read the configuration of a model folder and find its weights.

        Raises:
            CheckpointError: A file is missing or malformed, or the model is of a kind that is not served.
        """
        config_file = folder / CONFIG_FILE
        config = _read_json(config_file)
        weight_files = _weight_files(folder)
        _refuse_unserved(config, config_file)
        tied = config.get("tie_word_embeddings")
        if tied is None:
            tied = not any("lm_head.weight" in _tensor_names(path) for path in weight_files)
        try:
            spec = _spec(config, tied=bool(tied))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{config_file} lacks or garbles a field the model needs: {error!r}"
            ) from error
        return cls(spec, config_file, weight_files)

    def weights(self) -> dict[str, FloatArray]:
        """All tensors by their Hugging Face name, as fp32.

        Raises:
            CheckpointError: A file is damaged or holds a type of number that is not served.
        """
        tensors: dict[str, FloatArray] = {}
        for path in self.weight_files:
            try:
                with safe_open(path, framework="np") as file:
                    tensors |= {name: _as_fp32(file.get_tensor(name), name, path) for name in file.keys()}  # noqa: SIM118 - no mapping
            except (SafetensorError, OSError, TypeError) as error:
                raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
        return tensors


def inverse_frequencies(spec: ModelSpec) -> NDArray[np.float64]:
    """Angular step per position of each pair of a head's dimensions (RoPE, arXiv 2104.09864).

    With ``llama3`` scaling, wavelengths longer than the model was first trained on are divided by ``factor``,
    short ones are kept, and those in between are blended.

    Returns:
        Array of shape (head_width / 2).
    """
    steps = spec.rope_base ** -(np.arange(0, spec.head_width, 2, dtype=np.float64) / spec.head_width)
    scaling = spec.rope_scaling
    if scaling is None:
        return steps
    turns = scaling.original_positions * steps / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    blended: NDArray[np.float64] = steps * (kept + (1.0 - kept) / scaling.factor)
    return blended


def _refuse_unserved(config: Mapping[str, Any], path: Path) -> None:
    architecture = next(iter(config.get("architectures") or ()), None)
    if architecture not in ARCHITECTURES:
        raise CheckpointError(
            f"{path}: architecture {architecture} is not served; served are {', '.join(ARCHITECTURES)}"
        )
    rope_type = _rope_type(_rope(config))
    if rope_type not in ROPE_TYPES:
        raise CheckpointError(
            f"{path}: rope type {rope_type!r} is not served; served are {', '.join(ROPE_TYPES)}"
        )
    refusals = {
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        "quantization_config": bool(config.get("quantization_config")),
        "use_sliding_window": bool(config.get("use_sliding_window")),
        "layer_types": "sliding_attention" in (config.get("layer_types") or ()),
        "partial_rotary_factor": _rope(config).get("partial_rotary_factor", 1.0) != 1.0
        or config.get("partial_rotary_factor", 1.0) != 1.0,
    }
    for field, refused in refusals.items():
        if refused:
            raise CheckpointError(
                f"{path}: {field} = {config.get(field)!r} is not served; served are unquantised models "
                "with full attention, full rotary positions and SiLU"
            )


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    # "rope_parameters" since transformers 5, "rope_scaling" before.
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _rope_type(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type") or rope.get("type") or "default")


def _spec(config: Mapping[str, Any], *, tied: bool) -> ModelSpec:
    rope = _rope(config)
    heads = int(config["num_attention_heads"])
    hidden = int(config["hidden_size"])
    scaling = None
    if _rope_type(rope) == "llama3":
        scaling = Llama3Scaling(
            factor=float(rope["factor"]),
            low_frequency_factor=float(rope["low_freq_factor"]),
            high_frequency_factor=float(rope["high_freq_factor"]),
            original_positions=int(rope["original_max_position_embeddings"]),
        )
    return ModelSpec(
        vocabulary=int(config["vocab_size"]),
        hidden=hidden,
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_width=int(config.get("head_dim") or hidden // heads),
        max_positions=int(config["max_position_embeddings"]),
        norm_epsilon=float(config["rms_norm_eps"]),
        rope_base=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
        rope_scaling=scaling,
        tied=tied,
    )


def _weight_files(folder: Path) -> tuple[Path, ...]:
    whole = folder / WEIGHTS_FILE
    if whole.is_file():
        return (whole,)
    index = folder / INDEX_FILE
    if not index.is_file():
        raise CheckpointError(
            f"{folder} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}: a model needs safetensors weights"
        )
    names = sorted(set(_read_json(index).get("weight_map", {}).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise CheckpointError(
            f"{index} names weight files that are not there: {', '.join(missing) or 'none'}"
        )
    return tuple(folder / name for name in names)


def _tensor_names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="np") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error


def _as_fp32(tensor: NDArray[Any], name: str, path: Path) -> FloatArray:
    if tensor.dtype.name not in ("float16", "bfloat16", "float32"):
        raise CheckpointError(
            f"{path}: tensor {name} is {tensor.dtype}; served are float16, bfloat16 and float32"
        )
    return np.ascontiguousarray(tensor, dtype=np.float32)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): is this a model folder?") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return content
