"""The graph is built once a checkpoint and kept on disk."""

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stream.engine import session
from stream.engine.checkpoint import Checkpoint
from stream.engine.session import default_cache_folder, open_session
from stream.errors import CheckpointError
from tests.engine.checkpoints import write_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny Llama."""
    return Checkpoint.open(write_checkpoint(tmp_path / "model", "llama"))


@pytest.fixture
def built(monkeypatch):
    """How often a graph was built."""
    builds, build = [], session.build_graph

    def counted(spec, weights):
        builds.append(spec)
        return build(spec, weights)

    monkeypatch.setattr(session, "build_graph", counted)
    return builds


def files(cache):
    """Every file below a folder."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_session_builds_a_graph_once(checkpoint, tmp_path, built):
    """The second session comes from disk."""
    for _ in range(2):
        assert "logits" in [
            output.name for output in open_session(checkpoint, tmp_path / "cache").get_outputs()
        ]
    assert len(built) == 1
    assert files(tmp_path / "cache") == ["graph.onnx", "graph.tensors"]


def test_session_builds_anew_when_weights_change(checkpoint, tmp_path, built):
    """The cache knows a checkpoint by its content, not its place."""
    open_session(checkpoint, tmp_path / "cache")
    path = checkpoint.weight_files[0]
    weights = load_file(path)
    save_file(weights | {"model.norm.weight": weights["model.norm.weight"] + 1}, path)
    open_session(checkpoint, tmp_path / "cache")
    assert len(built) == 2


def test_session_does_without_a_cache_folder(checkpoint, tmp_path, built):
    """Where nothing can be written the graph is built in memory."""
    (tmp_path / "file").write_text("in the way")
    assert open_session(checkpoint, tmp_path / "file" / "cache").get_inputs()
    assert len(built) == 1 + 1


def test_session_replaces_a_damaged_graph(checkpoint, tmp_path, built):
    """A damaged file is no reason not to start, and is mended for the next time."""
    cache = tmp_path / "cache"
    open_session(checkpoint, cache)
    next(cache.rglob("graph.onnx")).write_bytes(b"damaged")
    assert open_session(checkpoint, cache).get_inputs()
    open_session(checkpoint, cache)
    open_session(checkpoint, cache)
    assert len(built) == 3


def test_session_keeps_a_bounded_number_of_graphs(checkpoint, tmp_path, monkeypatch):
    """The graphs used longest ago go."""
    monkeypatch.setattr(session, "_GRAPHS_KEPT", 2)
    for version in range(4):
        monkeypatch.setattr(session, "GRAPH_VERSION", version)
        open_session(checkpoint, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "graphs").iterdir())) == 2


def test_session_names_a_missing_tensor(checkpoint, tmp_path):
    """Weights that do not fit their configuration say which tensor is wrong."""
    path = checkpoint.weight_files[0]
    weights = load_file(path)
    missing = "model.layers.1.mlp.up_proj.weight"
    save_file({name: tensor for name, tensor in weights.items() if name != missing}, path)
    with pytest.raises(CheckpointError, match=missing):
        open_session(checkpoint, tmp_path / "cache")


def test_session_names_a_tensor_of_the_wrong_shape(checkpoint, tmp_path):
    """So do weights of another size."""
    path = checkpoint.weight_files[0]
    save_file(load_file(path) | {"model.norm.weight": np.ones(31, np.float32)}, path)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight has shape \(31,\)"):
        open_session(checkpoint, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_session_cache_folder_follows_the_desktop_convention(monkeypatch, tmp_path):
    """``XDG_CACHE_HOME`` moves it."""
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "padellm"


def test_session_leaves_small_floats_as_they_are(checkpoint, tmp_path):
    """Opening and running a session does not make the calling thread flush subnormal numbers to zero."""
    opened = open_session(checkpoint, tmp_path / "cache")
    assert opened is not None
    smallest = 5e-324
    assert smallest * 1.0 > 0
