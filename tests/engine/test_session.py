"""The graph is built once a checkpoint and kept on disk."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stream.engine import session
from stream.engine.batch import Feed
from stream.engine.checkpoint import Checkpoint
from stream.engine.forward import ForwardPass
from stream.engine.kv_cache import KvCache
from stream.engine.session import Sessions, default_cache_folder, open_sessions
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


def opened(checkpoint, cache, threads: int = 1) -> Sessions:
    """Sessions over a checkpoint, whose graph answers."""
    sessions = open_sessions(checkpoint, cache, threads=threads)
    assert "logits" in [output.name for output in sessions.narrow.get_outputs()]
    return sessions


def files(cache):
    """Every file below a folder."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_session_builds_a_graph_once(checkpoint, tmp_path, built):
    """The second session comes from disk."""
    for _ in range(2):
        opened(checkpoint, tmp_path / "cache")
    assert len(built) == 1
    assert files(tmp_path / "cache") == ["graph.onnx", "graph.tensors"]


def test_session_builds_anew_when_weights_change(checkpoint, tmp_path, built):
    """The cache knows a checkpoint by its content, not its place."""
    opened(checkpoint, tmp_path / "cache")
    path = checkpoint.weight_files[0]
    weights = load_file(path)
    save_file(weights | {"model.norm.weight": weights["model.norm.weight"] + 1}, path)
    opened(checkpoint, tmp_path / "cache")
    assert len(built) == 2


def test_session_does_without_a_cache_folder(checkpoint, tmp_path, built):
    """Where nothing can be written the graph is built in memory."""
    (tmp_path / "file").write_text("in the way")
    opened(checkpoint, tmp_path / "file" / "cache")
    assert len(built) == 1 + 1


def test_session_replaces_a_damaged_graph(checkpoint, tmp_path, built):
    """A damaged file is no reason not to start, and is mended for the next time."""
    cache = tmp_path / "cache"
    opened(checkpoint, cache)
    next(cache.rglob("graph.onnx")).write_bytes(b"damaged")
    opened(checkpoint, cache)
    opened(checkpoint, cache)
    opened(checkpoint, cache)
    assert len(built) == 3


def test_session_keeps_a_bounded_number_of_graphs(checkpoint, tmp_path, monkeypatch):
    """The graphs used longest ago go."""
    monkeypatch.setattr(session, "_GRAPHS_KEPT", 2)
    for version in range(4):
        monkeypatch.setattr(session, "GRAPH_VERSION", version)
        opened(checkpoint, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "graphs").iterdir())) == 2


def test_session_started_by_many_at_once_is_built_whole(checkpoint, tmp_path):
    """Processes that start together all get sessions, and leave one graph and nothing half-built."""
    cache = tmp_path / "cache"
    with ProcessPoolExecutor(3, get_context("spawn")) as processes:
        outputs = list(processes.map(output_names, [checkpoint] * 3, [cache] * 3))
    assert all("logits" in names for names in outputs)
    assert files(cache) == ["graph.onnx", "graph.tensors"]
    assert len(list((cache / "graphs").iterdir())) == 1


def test_session_clears_away_what_a_killed_build_left(checkpoint, tmp_path):
    """A building folder of long ago goes, one of now stays: its process may be at work."""
    graphs = tmp_path / "cache" / "graphs"
    old, new = graphs / "building-old", graphs / "building-new"
    old.mkdir(parents=True)
    new.mkdir()
    os.utime(old, (0, 0))
    opened(checkpoint, tmp_path / "cache")
    assert not old.exists()
    assert new.exists()


def test_session_is_built_for_this_processor_and_runtime(checkpoint, tmp_path, monkeypatch, built):
    """Weights are stored as the kernels want them: another processor or ONNX Runtime builds its own."""
    opened(checkpoint, tmp_path / "cache")
    monkeypatch.setattr(session, "_processor", lambda: "another")
    opened(checkpoint, tmp_path / "cache")
    monkeypatch.setattr(session.onnxruntime, "__version__", "99.0.0")
    opened(checkpoint, tmp_path / "cache")
    assert len(built) == 3


def test_session_wide_and_narrow_agree(checkpoint, tmp_path):
    """A pass says the same whether one thread runs it or two."""
    sessions = opened(checkpoint, tmp_path / "cache", threads=2)
    assert sessions.wide is not sessions.narrow
    results = []
    for each in (sessions.narrow, sessions.wide):
        cache = KvCache(checkpoint.spec, 64)
        feed = Feed(
            ids=np.arange(20)[None],
            positions=np.arange(20)[None],
            past=np.zeros((1, 0), np.int64),
            mask=np.where(np.tri(20, dtype=bool), np.float32(0), np.float32(-1e9)),
            rows=np.arange(20),
            slots=cache.allocate(20),
        )
        results.append(ForwardPass(checkpoint.spec, Sessions(each, each), cache).run(feed).logits)
    np.testing.assert_allclose(*results, atol=1e-5)


def output_names(checkpoint, cache) -> list[str]:
    """What a process that opens a checkpoint finds."""
    return [output.name for output in open_sessions(checkpoint, cache, threads=1).narrow.get_outputs()]


def test_session_names_a_missing_tensor(checkpoint, tmp_path):
    """Weights that do not fit their configuration say which tensor is wrong."""
    path = checkpoint.weight_files[0]
    weights = load_file(path)
    missing = "model.layers.1.mlp.up_proj.weight"
    save_file({name: tensor for name, tensor in weights.items() if name != missing}, path)
    with pytest.raises(CheckpointError, match=missing):
        opened(checkpoint, tmp_path / "cache")


def test_session_names_a_tensor_of_the_wrong_shape(checkpoint, tmp_path):
    """So do weights of another size."""
    path = checkpoint.weight_files[0]
    save_file(load_file(path) | {"model.norm.weight": np.ones(31, np.float32)}, path)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight has shape \(31,\)"):
        opened(checkpoint, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_session_cache_folder_follows_the_desktop_convention(monkeypatch, tmp_path):
    """``XDG_CACHE_HOME`` moves it."""
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "padellm"


def test_session_leaves_small_floats_as_they_are(checkpoint, tmp_path):
    """Opening and running a session does not make the calling thread flush subnormal numbers to zero."""
    opened(checkpoint, tmp_path / "cache", threads=2)
    smallest = 5e-324
    assert smallest * 1.0 > 0
