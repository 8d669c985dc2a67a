"""The ONNX Runtime session of a checkpoint; its graph is built once and kept on disk."""

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import onnx
import onnxruntime
import structlog
from google.protobuf.message import EncodeError

from stream.engine.checkpoint import Checkpoint
from stream.engine.graph import GRAPH_VERSION, build_graph
from stream.errors import CheckpointError

GRAPH_FILE = "graph.onnx"
TENSORS_FILE = "graph.tensors"
_GRAPHS_KEPT = 8

_log = structlog.get_logger(__name__)


def default_cache_folder() -> Path:
    """Where built graphs are kept: ``$XDG_CACHE_HOME/padellm``, or else ``~/.cache/padellm``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "padellm"


def open_session(checkpoint: Checkpoint, cache_folder: Path) -> onnxruntime.InferenceSession:
    """Open a session over the checkpoint's graph, building the graph when the cache does not hold it.

    A cache folder that cannot be written is no error: the graph is then built in memory each time.

    Raises:
        CheckpointError: The weights do not fit the configuration, or the model is too large for memory.
    """
    folder = cache_folder / "graphs" / _content_key(checkpoint)
    try:
        if not (folder / GRAPH_FILE).is_file():
            _store(_build(checkpoint), folder)
    except OSError as error:
        _log.warning("graph cache cannot be written", folder=str(folder), error=str(error))
        return _session(_serialise(_build(checkpoint), folder))
    with suppress(OSError):  # a filled cache may be read-only
        os.utime(folder)
    try:
        return _session(str(folder / GRAPH_FILE))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no other base
        _log.warning("cached graph is damaged", folder=str(folder), error=str(error))
        shutil.rmtree(folder, ignore_errors=True)
        return _session(_serialise(_build(checkpoint), folder))


def _build(checkpoint: Checkpoint) -> onnx.ModelProto:
    return build_graph(checkpoint.spec, checkpoint.weights())


def _content_key(checkpoint: Checkpoint) -> str:
    digest = hashlib.sha256(f"graph {GRAPH_VERSION}\n".encode())
    for path in (checkpoint.config_file, *checkpoint.weight_files):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:32]


def _store(graph: onnx.ModelProto, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as name:
        building = Path(name) / folder.name
        building.mkdir()
        # Tensors in a file of their own are mapped, not copied, when the session loads them.
        onnx.save_model(graph, building / GRAPH_FILE, save_as_external_data=True, location=TENSORS_FILE)
        try:
            building.rename(folder)
        except OSError:
            # Another process was faster; its graph is the same.
            if not (folder / GRAPH_FILE).is_file():
                raise
    for old in sorted(folder.parent.iterdir(), key=lambda each: each.stat().st_mtime)[:-_GRAPHS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _serialise(graph: onnx.ModelProto, folder: Path) -> bytes:
    try:
        serialised: bytes = graph.SerializeToString()
    except (ValueError, EncodeError) as error:
        raise CheckpointError(
            f"a model over 2 GB needs a folder to build its graph in, and {folder} cannot be written: "
            "set XDG_CACHE_HOME to one that can"
        ) from error
    return serialised


def _session(source: str | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Every pass runs on the one thread that called it; several threads share the session.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
