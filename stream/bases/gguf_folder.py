"""A GGUF file of a Llama model, written as a plain Hugging Face folder; no torch is needed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from stream.errors import CheckpointError

_KIND = {
    "general.architecture": "llama",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
}
_CONTROL = 3  # the type of a token that is never spelled out

# llama.cpp's names, and those of transformers.
_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def write_folder(gguf: Path, folder: Path) -> None:
    """Write ``config.json``, ``model.safetensors`` (float16) and the tokenizer's two files.

    Args:
        gguf: Of a Llama model with SmolLM's tokenizer; its weights may be quantised in any way.
        folder: An empty folder.

    Raises:
        CheckpointError: The file is no GGUF, or of another kind of model.
    """
    try:
        reader = GGUFReader(gguf)
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"{gguf} is not a GGUF file: {error}") from error
    values = {name: field.contents() for name, field in reader.fields.items()}
    kind = {name: values.get(name) for name in _KIND}
    if kind != _KIND:
        raise CheckpointError(f"{gguf} holds a model of kind {kind}; read is {_KIND}")
    weights = dict(_weights(reader, values))
    _write_json(folder / "config.json", _config(values, tied="lm_head.weight" not in weights))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer(values).save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(values))


def _weights(reader: GGUFReader, values: dict[str, Any]) -> Iterator[tuple[str, NDArray[np.float16]]]:
    heads = values["llama.attention.head_count"]
    permuted = {"attn_q": heads, "attn_k": values.get("llama.attention.head_count_kv", heads)}
    for tensor in reader.tensors:
        parts = tensor.name.removesuffix(".weight").split(".")
        name = _TENSORS.get(parts[0])
        if name is None and parts[0] == "blk" and parts[-1] in _LAYER_TENSORS:
            name = f"model.layers.{parts[1]}.{_LAYER_TENSORS[parts[-1]]}"
        if name is None:
            raise CheckpointError(f"{tensor.name} is no tensor of a Llama model")
        weight = dequantize(tensor.data, tensor.tensor_type)
        if parts[-1] in permuted:
            weight = _unpermuted(weight, permuted[parts[-1]])
        yield f"{name}.weight", np.ascontiguousarray(weight, dtype=np.float16)


def _unpermuted(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows as transformers has them: GGUF interleaves the two halves that a rotation pairs."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _config(values: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    hidden, heads = values["llama.embedding_length"], values["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float16",
        "vocab_size": len(values[_tokenizer_key("tokens")]),
        "hidden_size": hidden,
        "intermediate_size": values["llama.feed_forward_length"],
        "num_hidden_layers": values["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": values.get("llama.attention.head_count_kv", heads),
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "max_position_embeddings": values["llama.context_length"],
        "rms_norm_eps": _shortest(values["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": _shortest(values.get("llama.rope.freq_base", 10_000.0)),
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": values.get(_tokenizer_key("bos_token_id")),
        "eos_token_id": values[_tokenizer_key("eos_token_id")],
        "pad_token_id": values.get(_tokenizer_key("padding_token_id")),
    }


def _tokenizer(values: dict[str, Any]) -> Tokenizer:
    tokens: list[str] = values[_tokenizer_key("tokens")]
    merges = [tuple(merge.split(" ")) for merge in values[_tokenizer_key("merges")]]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = values[_tokenizer_key("token_type")]
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer


def _tokenizer_config(values: dict[str, Any]) -> dict[str, Any]:
    tokens = values[_tokenizer_key("tokens")]
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    named = {
        f"{role}_token": tokens[values[_tokenizer_key(f"{name}_token_id")]]
        for role, name in roles.items()
        if _tokenizer_key(f"{name}_token_id") in values
    }
    template = values.get("tokenizer.chat_template")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": values["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        **named,
        **({"chat_template": template} if template else {}),
    }


def _tokenizer_key(name: str) -> str:
    return f"tokenizer.ggml.{name}"


def _shortest(number: float) -> float:
    """A float32 as the decimal number that was meant: 1e-05, and not 9.999999747378752e-06."""
    return float(str(np.float32(number)))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
