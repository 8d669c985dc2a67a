"""A tiny random Llama checkpoint in the layout of the bundled one, made in milliseconds and without torch."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from stream.baselines.answers import mark_tokens
from stream.baselines.config import Baseline, BaselineConfig
from stream.ner.config import LabelConfig, NerConfig, TemplateConfig

END_TOKEN = "</s>"


def tiny_ner_config(*, name: str = "tiny", max_count: int = 12) -> NerConfig:
    """The four CoNLL03 labels with their short names as aliases."""
    labels = {"person": "PER", "location": "LOC", "organization": "ORG", "miscellaneous": "MISC"}
    return NerConfig(
        name=name,
        version="0",
        max_count=max_count,
        max_mention_tokens=8,
        labels={label: LabelConfig(aliases=(alias,)) for label, alias in labels.items()},
        default_labels=tuple(labels),
    )


def tiny_tokenizer(config: NerConfig, *baselines: Baseline) -> Tokenizer:
    """One token a byte, and a control token for every marker of the template and mark of the baselines."""
    bytes_vocabulary = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=bytes_vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(marker, special=True, normalized=False)
            for marker in (
                *_markers(config.template, config.max_count),
                *dict.fromkeys(mark for baseline in baselines for mark in mark_tokens(baseline)),
            )
        ]
    )
    return tokenizer


def write_tiny_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    intermediate: int = 64,
    max_positions: int = 2048,
    ner: NerConfig | None = None,
    baseline: Baseline | None = None,
) -> Path:
    """Write config, fp16 weights, tokenizer and ``ner_config.json`` into a folder, which is made.

    That of a baseline has ``baseline.json`` in place of ``ner_config.json``.

    The weights are random, but scaled so that greedy decoding has clear winners and does not
    just repeat itself.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ner = ner or tiny_ner_config()
    tokenizer = tiny_tokenizer(ner, baseline) if baseline else tiny_tokenizer(ner)
    vocabulary = tokenizer.get_vocab_size()
    end_id = tokenizer.token_to_id(END_TOKEN)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": hidden // heads,
        "max_position_embeddings": max_positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": end_id,
        "pad_token_id": end_id,
        "dtype": "float16",
    }
    _write_json(folder / "config.json", config)
    _write_json(
        folder / "generation_config.json",
        {"do_sample": False, "eos_token_id": end_id, "pad_token_id": end_id},
    )
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END_TOKEN,
            "pad_token": END_TOKEN,
            "clean_up_tokenization_spaces": False,
            "model_max_length": max_positions,
        },
    )
    told, name = (
        (BaselineConfig(format=baseline, ner=ner), "baseline.json") if baseline else (ner, "ner_config.json")
    )
    (folder / name).write_text(told.model_dump_json(indent=2), encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))
    shapes = _shapes(vocabulary, hidden, layers, hidden // heads * kv_heads, intermediate)
    save_file(_random_weights(shapes, seed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _markers(template: TemplateConfig, max_count: int) -> list[str]:
    counts = [template.count_answer.format(n=n) for n in range(max_count + 1)]
    mentions = [template.mention.format(k=k) for k in range(1, max_count + 1)]
    return [END_TOKEN, template.text, template.label, template.count, *counts, *mentions]


def _shapes(
    vocabulary: int, hidden: int, layers: int, kv_width: int, intermediate: int
) -> dict[str, tuple[int, ...]]:
    layer = {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv_width, hidden),
        "self_attn.v_proj": (kv_width, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }
    return {
        "model.embed_tokens.weight": (vocabulary, hidden),
        **{
            f"model.layers.{index}.{name}.weight": shape
            for index in range(layers)
            for name, shape in layer.items()
        },
        "model.norm.weight": (hidden,),
    }


def _random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[np.float16]]:
    random = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        if len(shape) == 1:
            return 1.0 + 0.1 * random.standard_normal(shape)
        # Embeddings are small beside what the layers add: with a tied head a token would else predict itself.
        scale = 0.4 if "embed" in name else 1.5 / np.sqrt(shape[1])
        return scale * random.standard_normal(shape)

    return {name: draw(name, shape).astype(np.float16) for name, shape in shapes.items()}


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
