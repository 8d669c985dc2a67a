"""Tiny random checkpoints of every family the engine serves."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

VOCABULARY = 90
END_ID = 89

_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "llama_untied": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": False,
        "rope_scaling": _LLAMA3, "num_key_value_heads": 4,
    },
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "num_key_value_heads": 1},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 16},
    "mistral": {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 256,
    },
    "gemma3": {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "head_dim": 16,
        "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 10,
        "rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window": 128,
        "num_hidden_layers": 3, "sliding_window_pattern": 2,
    },
}  # fmt: skip


def write_checkpoint(folder: Path, family: str, *, dtype: str = "float32", seed: int = 0) -> Path:
    """Write config.json and model.safetensors of a family into a new folder."""
    config = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": END_ID,
        "pad_token_id": END_ID,
        **FAMILIES[family],
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_weights(config, family, dtype, seed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _weights(config: dict[str, Any], family: str, dtype: str, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    hidden, inner, width = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, key = config["num_attention_heads"] * width, config["num_key_value_heads"] * width
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, hidden),
        "model.norm.weight": (hidden,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (VOCABULARY, hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for part, size in (("q", query), ("k", key), ("v", key)):
            shapes[f"{at}self_attn.{part}_proj.weight"] = (size, hidden)
            if family == "qwen2":
                shapes[f"{at}self_attn.{part}_proj.bias"] = (size,)
        if family in {"qwen3", "gemma3"}:
            shapes |= {f"{at}self_attn.{part}_norm.weight": (width,) for part in "qk"}
        shapes |= {
            f"{at}self_attn.o_proj.weight": (hidden, query),
            f"{at}mlp.gate_proj.weight": (inner, hidden),
            f"{at}mlp.up_proj.weight": (inner, hidden),
            f"{at}mlp.down_proj.weight": (hidden, inner),
            f"{at}input_layernorm.weight": (hidden,),
            f"{at}post_attention_layernorm.weight": (hidden,),
        }
        if family == "gemma3":
            shapes |= {f"{at}{side}_feedforward_layernorm.weight": (hidden,) for side in ("pre", "post")}
    drawn = {name: _draw(random, name, shape) for name, shape in shapes.items()}
    if family == "gemma3":  # gains are stored less 1, embeddings are multiplied by the root of their width
        drawn |= {name: gain - 1 for name, gain in drawn.items() if gain.ndim == 1}
        drawn["model.embed_tokens.weight"] /= hidden**0.5
    target = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return {name: values.astype(target) for name, values in drawn.items()}


def _draw(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith(".bias"):
        return random.standard_normal(shape)
    if len(shape) == 1:
        return 1 + 0.2 * random.standard_normal(shape)
    # Small embeddings, large layers: else a token with a tied head predicts itself.
    return random.standard_normal(shape) * (0.4 if "embed" in name else 1.6 / np.sqrt(shape[1]))
