"""A GGUF file as a plain Hugging Face folder."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from stream.bases.gguf_folder import write_folder
from stream.errors import CheckpointError
from tests.bases.tiny_gguf import HEADS, KV_HEADS, LAYERS, TOKENS, write_gguf

TEXT = "on the  Paris 1994\n 12 <|im_end|>é"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file, the folder written from it, and what its tensors hold."""
    place = tmp_path_factory.mktemp("gguf")
    held = write_gguf(place / "tiny.gguf")
    (place / "folder").mkdir()
    write_folder(place / "tiny.gguf", place / "folder")
    return place / "tiny.gguf", place / "folder", held


def test_gguf_weights_are_the_dequantised_ones_in_float16(written):
    """Every tensor is there under transformers' name, with the value of the quantised one rounded."""
    _, folder, held = written
    weights = load_file(folder / "model.safetensors")
    assert len(weights) == len(held)
    assert {str(weight.dtype) for weight in weights.values()} == {"float16"}
    assert np.array_equal(weights["model.embed_tokens.weight"], held["token_embd"].astype(np.float16))
    for layer in range(LAYERS):
        down = weights[f"model.layers.{layer}.mlp.down_proj.weight"]
        assert np.array_equal(down, held[f"blk.{layer}.ffn_down"].astype(np.float16))


def test_gguf_rotated_rows_are_put_back_in_halves(written):
    """Rows 2i and 2i + 1 of a head in the file, a pair of one rotation, are i and i + half in the folder."""
    _, folder, held = written
    weights = load_file(folder / "model.safetensors")
    for name, short, heads in (("q_proj", "attn_q", HEADS), ("k_proj", "attn_k", KV_HEADS)):
        ours = weights[f"model.layers.1.self_attn.{name}.weight"]
        ours = ours.reshape(heads, 2, -1, ours.shape[-1])
        theirs = held[f"blk.1.{short}"].astype(np.float16).reshape(heads, -1, 2, ours.shape[-1])
        assert np.array_equal(ours[:, 0], theirs[:, :, 0])
        assert np.array_equal(ours[:, 1], theirs[:, :, 1])


def test_gguf_tokenizer_splits_digits_and_keeps_control_tokens_whole(written):
    """Each digit is a token, spaces before one are not split, and what is encoded is decoded as it was."""
    _, folder, _ = written
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoded = tokenizer.encode(TEXT, add_special_tokens=False)
    assert encoded.tokens[:8] == ["on", "Ġthe", "Ġ", "ĠParis", "Ġ", "1", "9", "9"]
    assert "<|im_end|>" in encoded.tokens
    assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == TEXT


def test_gguf_config_names_shapes_and_tokens(written):
    """The configuration is that of a Llama with the file's shapes, float32 numbers as they were meant."""
    _, folder, _ = written
    config = json.loads((folder / "config.json").read_text())
    assert (config["vocab_size"], config["rms_norm_eps"], config["rope_theta"]) == (len(TOKENS), 1e-5, 1e5)
    assert config["tie_word_embeddings"]
    assert json.loads((folder / "tokenizer_config.json").read_text())["eos_token"] == "<|im_end|>"


def test_gguf_of_another_kind_is_refused(tmp_path):
    """A file that is no GGUF, and a model with another tokenizer, are refused with the file's name."""
    (tmp_path / "no.gguf").write_bytes(b"nothing of the kind" * 10)
    with pytest.raises(CheckpointError, match=r"no\.gguf is not a GGUF file"):
        write_folder(tmp_path / "no.gguf", tmp_path)
    write_gguf(tmp_path / "other.gguf", pre_tokenizer="llama-bpe")
    with pytest.raises(CheckpointError, match=r"other\.gguf holds a model of kind .*llama-bpe"):
        write_folder(tmp_path / "other.gguf", tmp_path)


@pytest.mark.train
def test_gguf_folder_is_what_transformers_reads_from_the_file(written):
    """Tokens and, up to rounding to float16, logits are those of transformers' own reading of the file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, folder, _ = written
    gguf = {"gguf_file": path.name}
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, **gguf, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    text = "on the Paris 1994 é <|im_end|>"  # transformers would split two spaces before a digit
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    named = AutoTokenizer.from_pretrained(path.parent, **gguf)
    assert ids[0].tolist() == named(text, add_special_tokens=False).input_ids
    with torch.inference_mode():
        near, far = ours(ids).logits, theirs(ids).logits
    assert (near - far).abs().max() < 2e-3 * far.abs().max()
