"""Memory of a model on a GPU."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.cli.sizing import sizing
from stream.doctor.sizing import model_memory
from stream.errors import CheckpointError
from tests.tiny_model import write_tiny_checkpoint

GIB = 1024**3
# Llama 3.1 8B's shapes: its KV cache takes 128 KiB a token in 16 bits.
LLAMA = {
    "dtype": "bfloat16",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
}


def _folder(folder: Path, config: dict[str, object], weights: int = 1000) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"0" * weights)
    return folder


def test_sizing_of_llama_shapes_is_known(tmp_path: Path) -> None:
    """Grouped heads count once: 2 x 32 layers x 8 heads x 128 x 2 bytes a token."""
    memory = model_memory(_folder(tmp_path, LLAMA))
    assert (memory.kv_per_token, memory.weights, memory.longest) == (128 * 1024, 1000, 131_072)


@pytest.mark.parametrize(
    ("changes", "dtype", "kv_per_token", "weights"),
    [
        ({}, "float32", 256 * 1024, 2000),
        ({}, "fp8", 64 * 1024, 500),
        ({"num_key_value_heads": None}, None, 512 * 1024, 1000),
        ({"head_dim": 256}, None, 256 * 1024, 1000),
        ({"dtype": None, "torch_dtype": "float16"}, None, 128 * 1024, 1000),
    ],
)
def test_sizing_follows_the_configuration(
    tmp_path: Path, changes: dict[str, object], dtype: str | None, kv_per_token: int, weights: int
) -> None:
    """Types, ungrouped heads, wide heads and the older name of the type count as they are."""
    memory = model_memory(_folder(tmp_path, LLAMA | changes), dtype)
    assert (memory.kv_per_token, memory.weights) == (kv_per_token, weights)


def test_sizing_leaves_the_cache_what_the_weights_leave(tmp_path: Path) -> None:
    """The cache has what weights and workspace leave of the share, and nothing where that is nothing."""
    memory = model_memory(_folder(tmp_path, LLAMA, weights=GIB // 1024))
    assert memory.tokens(10 * GIB, 0.5) == pytest.approx(3 * GIB / (128 * 1024), rel=0.01)
    assert memory.tokens(GIB, 0.9) == 0


@pytest.mark.parametrize("missing", ["num_hidden_layers", "max_position_embeddings"])
def test_sizing_names_a_configuration_without_sizes(tmp_path: Path, missing: str) -> None:
    """A config.json that lacks a size is named, with what it lacks."""
    folder = _folder(tmp_path, {name: value for name, value in LLAMA.items() if name != missing})
    with pytest.raises(CheckpointError, match=f"config.json.*{missing}"):
        model_memory(folder)


def test_sizing_command_says_whether_it_fits(tmp_path: Path) -> None:
    """The command shows the figures, and its status is 1 where no document fits."""
    import typer

    app = typer.Typer()
    app.command()(sizing)
    folder = str(write_tiny_checkpoint(tmp_path / "model"))
    fits = CliRunner().invoke(app, [folder, "--gpu-gib", "24"])
    assert fits.exit_code == 0, fits.output
    assert "documents at once" in fits.output
    assert CliRunner().invoke(app, [folder, "--gpu-gib", "1"]).exit_code == 1
