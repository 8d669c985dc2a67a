"""Graphs: built once per checkpoint, and cached on disk."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stream.engine.batch import Feed
from stream.engine.forward import ForwardPass
from stream.engine.kv_cache import KvCache
from stream.engine.model import session
from stream.engine.model.checkpoint import Checkpoint
from stream.engine.model.session import Sessions, open_sessions
from stream.errors import CheckpointError
from tests.engine.checkpoints import write_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny Llama."""
    return Checkpoint.open(write_checkpoint(tmp_path / "model", "llama"))


@pytest.fixture
def built(monkeypatch):
    """The graphs built so far."""
    builds, build = [], session.build_graph

    def counted(spec, weights, **options):
        builds.append(spec)
        return build(spec, weights, **options)

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
    """The cache identifies a checkpoint by its content, not its path."""
    opened(checkpoint, tmp_path / "cache")
    path = checkpoint.weight_files[0]
    weights = load_file(path)
    save_file(weights | {"model.norm.weight": weights["model.norm.weight"] + 1}, path)
    opened(checkpoint, tmp_path / "cache")
    assert len(built) == 2


def test_session_does_without_a_cache_folder(checkpoint, tmp_path, built):
    """Without a writable folder the graph is built in memory."""
    (tmp_path / "file").write_text("in the way")
    opened(checkpoint, tmp_path / "file" / "cache")
    assert len(built) == 1 + 1


def test_session_replaces_a_damaged_graph(checkpoint, tmp_path, built):
    """A damaged file does not stop the engine, and is replaced."""
    cache = tmp_path / "cache"
    opened(checkpoint, cache)
    next(cache.rglob("graph.onnx")).write_bytes(b"damaged")
    opened(checkpoint, cache)
    opened(checkpoint, cache)
    opened(checkpoint, cache)
    assert len(built) == 3


def test_session_keeps_a_bounded_number_of_graphs(checkpoint, tmp_path, monkeypatch):
    """The least recently used graphs are removed."""
    monkeypatch.setattr(session, "_GRAPHS_KEPT", 2)
    for version in range(4):
        monkeypatch.setattr(session, "GRAPH_VERSION", version)
        opened(checkpoint, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "graphs").iterdir())) == 2


def test_session_started_by_many_at_once_is_built_whole(checkpoint, tmp_path):
    """Processes that start together all get sessions, and leave one graph and no partial one."""
    cache = tmp_path / "cache"
    with ProcessPoolExecutor(3, get_context("spawn")) as processes:
        outputs = list(processes.map(output_names, [checkpoint] * 3, [cache] * 3))
    assert all("logits" in names for names in outputs)
    assert files(cache) == ["graph.onnx", "graph.tensors"]
    assert len(list((cache / "graphs").iterdir())) == 1


def test_session_removes_the_folder_of_a_killed_build(checkpoint, tmp_path):
    """An old building folder is removed; a new one stays, since its process may be at work."""
    graphs = tmp_path / "cache" / "graphs"
    old, new = graphs / "building-old", graphs / "building-new"
    old.mkdir(parents=True)
    new.mkdir()
    os.utime(old, (0, 0))
    opened(checkpoint, tmp_path / "cache")
    assert not old.exists()
    assert new.exists()


def test_session_is_built_for_this_processor_and_runtime(checkpoint, tmp_path, monkeypatch, built):
    """Stored weights are prepacked, so another processor or ONNX Runtime builds its own graph."""
    opened(checkpoint, tmp_path / "cache")
    monkeypatch.setattr(session, "_processor", lambda: "another")
    opened(checkpoint, tmp_path / "cache")
    monkeypatch.setattr(session.onnxruntime, "__version__", "99.0.0")
    opened(checkpoint, tmp_path / "cache")
    assert len(built) == 3


@pytest.mark.parametrize("int8", [False, True])
def test_session_wide_and_narrow_agree(checkpoint, tmp_path, int8):
    """A pass has the same logits on one thread and on two."""
    sessions = open_sessions(checkpoint, tmp_path / "cache", threads=2, int8=int8)
    assert sessions.wide is not sessions.narrow
    narrow, wide = (logits(checkpoint, each) for each in (sessions.narrow, sessions.wide))
    np.testing.assert_allclose(narrow, wide, atol=1e-5)


def test_session_int8_stays_close_to_fp32(checkpoint, tmp_path):
    """The quantisation error is small compared with the logits."""
    exact, coarse = (
        logits(checkpoint, open_sessions(checkpoint, tmp_path / "cache", threads=1, int8=int8).narrow)
        for int8 in (False, True)
    )
    assert 0 < np.abs(exact - coarse).mean() < 0.05 * exact.std()


def test_session_int8_scales_every_token_by_itself(checkpoint, tmp_path, monkeypatch):
    """A token with huge activations costs the other tokens of its pass no precision.

    Its embedding is a thousand times as large as theirs, and none of them attends to it.
    """
    weights = checkpoint.weights()
    weights["model.embed_tokens.weight"][19] *= 1000
    monkeypatch.setattr(Checkpoint, "weights", lambda self: weights)
    session = open_sessions(checkpoint, tmp_path / "cache", threads=1, int8=True).narrow
    np.testing.assert_allclose(
        logits(checkpoint, session)[:19], logits(checkpoint, session, tokens=19), atol=1e-3
    )


def test_session_stores_int8_apart_from_fp32(checkpoint, tmp_path, built):
    """Each has a stored graph of its own."""
    for int8 in (False, True, False, True):
        open_sessions(checkpoint, tmp_path / "cache", threads=1, int8=int8)
    assert len(built) == 2


def logits(checkpoint, session, tokens: int = 20) -> np.ndarray:
    """Logits after each of a text's first tokens."""
    cache = KvCache(checkpoint.spec, 64)
    feed = Feed(
        ids=np.arange(tokens)[None],
        positions=np.arange(tokens)[None],
        past=np.zeros((1, 0), np.int64),
        mask=np.where(np.tri(tokens, dtype=bool), np.float32(0), np.float32(-1e9)),
        rows=np.arange(tokens),
        slots=cache.allocate(tokens),
    )
    return ForwardPass(Sessions(session, session), cache).run(feed).logits


def output_names(checkpoint, cache) -> list[str]:
    """Outputs of the graph, in a process of its own."""
    return [output.name for output in open_sessions(checkpoint, cache, threads=1).narrow.get_outputs()]


def test_session_names_a_missing_tensor(checkpoint, tmp_path):
    """The error for weights that do not fit their configuration names the tensor."""
    path = checkpoint.weight_files[0]
    weights = load_file(path)
    missing = "model.layers.1.mlp.up_proj.weight"
    save_file({name: tensor for name, tensor in weights.items() if name != missing}, path)
    with pytest.raises(CheckpointError, match=missing):
        opened(checkpoint, tmp_path / "cache")


def test_session_names_a_tensor_of_the_wrong_shape(checkpoint, tmp_path):
    """A tensor of another size is named with its shape."""
    path = checkpoint.weight_files[0]
    save_file(load_file(path) | {"model.norm.weight": np.ones(31, np.float32)}, path)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight has shape \(31,\)"):
        opened(checkpoint, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_session_leaves_small_floats_as_they_are(checkpoint, tmp_path):
    """Opening and running a session does not make the calling thread flush subnormal numbers to zero."""
    opened(checkpoint, tmp_path / "cache", threads=2)
    smallest = 5e-324
    assert smallest * 1.0 > 0
