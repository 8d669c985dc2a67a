"""Memory that a model takes on a GPU, from its config.json: weights, and the KV cache of each token."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.errors import CheckpointError

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}
# Of the memory beside weights and cache: CUDA's context, activations of a batch, graphs. A rough figure.
_WORKSPACE = 2 * 1024**3
DOCUMENT_BRANCHES = 16 * 48
"""Tokens of a document's prompts beside its text: 16 prompts of 48 tokens, an amount of many mentions."""


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """Memory of a model.

    Attributes:
        weights: Bytes.
        kv_per_token: Bytes of the keys and values of one token, in all layers.
        longest: Most tokens of a sequence.
    """

    weights: int
    kv_per_token: int
    longest: int

    def tokens(self, memory: int, share: float) -> int:
        """Tokens that the KV cache has room for; 0 where the weights fill the memory.

        Args:
            memory: Of the GPU, in bytes.
            share: Of it that the server may take.
        """
        return max(0, int(memory * share) - self.weights - _WORKSPACE) // self.kv_per_token


def model_memory(folder: Path, dtype: str | None = None) -> ModelMemory:
    """Read the memory of a model folder.

    Args:
        folder: In Hugging Face's layout.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``fp8``, of weights and KV cache alike; None for the
            checkpoint's own.

    Raises:
        CheckpointError: The folder holds no model, or its config.json lacks a size.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
        config = config.get("text_config", config)
        kept = _width(config, "dtype") or _width(config, "torch_dtype") or _BYTES["float32"]
        served = _BYTES[dtype] if dtype else kept
        heads = config["num_attention_heads"]
        width = config.get("head_dim") or config["hidden_size"] // heads
        kv_heads = config.get("num_key_value_heads") or heads
        stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        memory = ModelMemory(
            weights=stored * served // kept,
            kv_per_token=2 * config["num_hidden_layers"] * kv_heads * width * served,
            longest=config["max_position_embeddings"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} does not say how large the model is: {error!r}") from error
    if not memory.weights:
        raise CheckpointError(f"{folder} holds no *.safetensors")
    return memory


def _width(config: Mapping[str, Any], name: str) -> int | None:
    """Bytes of a number of the type that a configuration names."""
    return _BYTES.get(config.get(name) or "")
