"""Model folders: their weights and shapes, and refusals."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stream.engine.model.checkpoint import Checkpoint
from stream.errors import CheckpointError
from tests.engine.checkpoints import write_checkpoint


@pytest.fixture
def folder(tmp_path):
    """A tiny Llama."""
    return write_checkpoint(tmp_path / "model", "llama")


def change(folder, **fields):
    """Set fields of config.json; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM is not served; served are Llama"),
        ({"architectures": None}, "architecture None"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "'yarn' is not served; served are default, llama3"),
        ({"rope_parameters": {"rope_type": "linear"}}, "'linear'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": "many"}, "many"),
    ],
)  # fmt: skip
def test_checkpoint_refuses_unserved_models_with_the_reason(folder, fields, reason):
    """The message names the file, the field and the served values."""
    change(folder, **fields)
    with pytest.raises(CheckpointError, match=reason) as raised:
        Checkpoint.open(folder)
    assert "config.json" in str(raised.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_checkpoint_names_a_missing_file(folder, name):
    """The error for a folder without one of its files names the file."""
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        Checkpoint.open(folder)


def test_checkpoint_names_a_damaged_weights_file(folder):
    """The error for a truncated download names the file."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        Checkpoint.open(folder).weights()


def test_checkpoint_refuses_integers_as_weights(folder):
    """Quantised tensors without a note in the configuration are refused too."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {"model.norm.weight": np.ones(32, np.int8)}, path)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is int8"):
        Checkpoint.open(folder).weights()


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0), ("float16", 1e-3), ("bfloat16", 1e-2)])
def test_checkpoint_reads_every_width_as_fp32(tmp_path, dtype, error):
    """Half precision of either kind is widened."""
    exact = Checkpoint.open(write_checkpoint(tmp_path / "exact", "qwen2")).weights()
    read = Checkpoint.open(write_checkpoint(tmp_path / dtype, "qwen2", dtype=dtype)).weights()
    for name, tensor in read.items():
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, exact[name], rtol=error, atol=1e-6)


def test_checkpoint_reads_weights_in_several_files(folder):
    """An index over two files gives the same weights as one file."""
    whole = load_file(folder / "model.safetensors")
    names = sorted(whole)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: whole[name] for name in held}, folder / file)
    weight_map = {name: file for file, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()
    assert sorted(Checkpoint.open(folder).weights()) == names
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-2\.safetensors"):
        Checkpoint.open(folder)


@pytest.mark.parametrize(("family", "tied"), [("llama", True), ("llama_untied", False)])
def test_checkpoint_finds_out_whether_the_head_is_tied(tmp_path, family, tied):
    """Without the field, a head among the weights decides."""
    folder = write_checkpoint(tmp_path / "model", family)
    assert Checkpoint.open(folder).spec.tied is tied
    change(folder, tie_word_embeddings=None)
    assert Checkpoint.open(folder).spec.tied is tied


def test_checkpoint_reads_rotary_settings_old_and_new(folder):
    """``rope_parameters`` of newer configurations means the same as ``rope_theta`` and ``rope_scaling``."""
    scaling = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    change(folder, rope_theta=5e5, rope_scaling=scaling)
    old = Checkpoint.open(folder).spec
    change(folder, rope_theta=None, rope_scaling=None, rope_parameters={**scaling, "rope_theta": 5e5})
    assert Checkpoint.open(folder).spec == old
    assert {rotary.base for rotary in old.rotaries} == {5e5}


@pytest.mark.parametrize(
    ("family", "fields", "longest"),
    [
        ("llama", {"sliding_window": 64}, 512),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": False}, 512),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True}, 64),
        ("mistral", {"sliding_window": None}, 512),
        ("mistral", {"sliding_window": 64}, 64),
        ("gemma3", {}, 128),
    ],
)
def test_checkpoint_serves_sliding_attention_within_its_window(tmp_path, family, fields, longest):
    """Within its window sliding attention is full attention; longer sequences are refused."""
    folder = write_checkpoint(tmp_path / "model", family)
    change(folder, **fields)
    assert Checkpoint.open(folder).spec.max_positions == longest


def test_checkpoint_reads_gemmas_two_rotary_bases_old_and_new(tmp_path):
    """Every other layer here is local; the newer form nests the parameters by layer type."""
    folder = write_checkpoint(tmp_path / "model", "gemma3")
    old = Checkpoint.open(folder).spec
    assert [rotary.base for rotary in old.rotaries] == [1e4, 1e6, 1e4]
    change(
        folder,
        rope_theta=None,
        rope_local_base_freq=None,
        sliding_window_pattern=None,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    )
    assert Checkpoint.open(folder).spec == old
    change(folder, layer_types=["full_attention"])
    with pytest.raises(CheckpointError, match="layer_types names 1 layers"):
        Checkpoint.open(folder)


def test_checkpoint_folder_may_move(folder, tmp_path):
    """A folder's content does not depend on its path."""
    shutil.copytree(folder, tmp_path / "copy")
    assert Checkpoint.open(tmp_path / "copy").spec == Checkpoint.open(folder).spec
