"""ONNX Runtime sessions over a checkpoint's graph, and the loaded model."""

import hashlib
import os
import platform
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import structlog
from google.protobuf.message import EncodeError

from stream.engine.model.checkpoint import Checkpoint
from stream.engine.model.config import ModelSpec
from stream.engine.model.graph import GRAPH_VERSION, build_graph
from stream.engine.token_shapes import TokenShapes
from stream.errors import CheckpointError
from stream.settings.values import user_cache_folder

GRAPH_FILE = "graph.onnx"
TENSORS_FILE = "graph.tensors"
_GRAPHS_KEPT = 4
_BUILDING = "building-"
_ABANDONED = 3600  # seconds

# A thread that waits between two operators of a pass yields its core after so many microseconds. Three
# passes took 13.8 ms with 20, 14.9 with 5 and 17.1 with 0 on two idle cores. With another program on one of
# them they took 26, 21 and 22 ms, and 45 without a limit, since spinning starves the working thread.
_SPIN_MICROSECONDS = "10"
_SPINS_BRIEFLY = (1, 26)  # the first ONNX Runtime that can limit spinning

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Two sessions over one graph; loaded from disk they share the memory of its weights.

    Attributes:
        narrow: Runs a pass on the calling thread; several threads may call at once.
        wide: Spreads a pass over several threads; the same as ``narrow`` with one thread.
    """

    narrow: onnxruntime.InferenceSession
    wide: onnxruntime.InferenceSession


def open_sessions(
    checkpoint: Checkpoint, cache_folder: Path, *, threads: int, int8: bool = False
) -> Sessions:
    """Open sessions over the checkpoint's graph, building the graph if it is not cached.

    A cache folder that cannot be written is no error: the graph is then built in memory each time.

    Args:
        checkpoint: The model.
        cache_folder: Folder for built graphs.
        threads: Of a pass in the wide session.
        int8: Whether matrix products are int8-quantised.

    Raises:
        CheckpointError: The weights do not fit the configuration, or the model is too large for memory.
    """
    folder = cache_folder / "graphs" / _content_key(checkpoint, int8=int8)
    try:
        if not (folder / GRAPH_FILE).is_file():
            _store(_build(checkpoint, int8=int8), folder)
            _forget_oldest(folder.parent)
    except OSError as error:
        _log.warning("graph cache cannot be written", folder=str(folder), error=str(error))
        return _sessions(_serialise(_build(checkpoint, int8=int8), folder), threads)
    with suppress(OSError):  # a prebuilt cache may be read-only
        os.utime(folder)
    try:
        return _sessions(str(folder / GRAPH_FILE), threads)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no other base
        _log.warning("cached graph is damaged", folder=str(folder), error=str(error))
        shutil.rmtree(folder, ignore_errors=True)
        return _sessions(_serialise(_build(checkpoint, int8=int8), folder), threads)


def _build(checkpoint: Checkpoint, *, int8: bool) -> onnx.ModelProto:
    return build_graph(checkpoint.spec, checkpoint.weights(), int8=int8)


def _content_key(checkpoint: Checkpoint, *, int8: bool) -> str:
    """Hash of everything a stored graph depends on, this processor included: weights are prepacked for it."""
    described = f"graph {GRAPH_VERSION} int8 {int8}\n{onnxruntime.__version__}\n{_processor()}\n"
    digest = hashlib.sha256(described.encode())
    for path in (checkpoint.config_file, *checkpoint.weight_files):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:32]


def _processor() -> str:
    """Features of this processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return f"{platform.machine()} {platform.processor()}"


def _store(graph: onnx.ModelProto, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_BUILDING) as name:
        plain, ready = Path(name) / "plain", Path(name) / "ready"
        plain.mkdir()
        ready.mkdir()
        onnx.save_model(graph, plain / GRAPH_FILE, save_as_external_data=True, location=TENSORS_FILE)
        _prepare(plain / GRAPH_FILE, ready / GRAPH_FILE)
        try:
            ready.rename(folder)
        except OSError:
            # Another process was faster with the same graph.
            if not (folder / GRAPH_FILE).is_file():
                raise


def _prepare(plain: Path, ready: Path) -> None:
    """Store a graph with prepacked weights.

    A session maps such weights instead of copying them, so sessions and processes share them.
    """
    options = _options(1)
    options.optimized_model_filepath = str(ready)
    for name, value in (
        ("optimized_model_external_initializers_file_name", TENSORS_FILE),
        ("optimized_model_external_initializers_min_size_in_bytes", "1024"),
        ("save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(f"session.{name}", value)
    onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])


def _forget_oldest(graphs: Path) -> None:
    """Remove the least recently used graphs, and folders of builds that were killed."""
    used = {}
    for folder in graphs.iterdir():
        with suppress(OSError):  # another process removes them too
            used[folder] = folder.stat().st_mtime
    building = {folder for folder in used if folder.name.startswith(_BUILDING)}
    abandoned = [folder for folder in building if used[folder] < time.time() - _ABANDONED]
    built = sorted(used.keys() - building, key=used.__getitem__)
    for folder in (*abandoned, *built[:-_GRAPHS_KEPT]):
        shutil.rmtree(folder, ignore_errors=True)


def _serialise(graph: onnx.ModelProto, folder: Path) -> bytes:
    try:
        serialised: bytes = graph.SerializeToString()
    except (ValueError, EncodeError) as error:
        raise CheckpointError(
            f"a model over 2 GB needs a folder for its graph, and {folder} cannot be written: "
            "set PADELLM_CACHE_DIR to a writable folder"
        ) from error
    return serialised


def _sessions(source: str | bytes, threads: int) -> Sessions:
    narrow = onnxruntime.InferenceSession(source, _options(1), providers=["CPUExecutionProvider"])
    if threads == 1:
        return Sessions(narrow, narrow)
    wide = onnxruntime.InferenceSession(source, _options(threads), providers=["CPUExecutionProvider"])
    return Sessions(narrow, wide)


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    version = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    spins = threads > 1 and version >= _SPINS_BRIEFLY
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    if spins:
        options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_MICROSECONDS)
        options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model, which several decoders may share.

    Attributes:
        spec: Its shapes.
        sessions: Over its graph.
        shapes: Of its tokens.
        threads: Of a pass in the wide session.
    """

    spec: ModelSpec
    sessions: Sessions
    shapes: TokenShapes
    threads: int

    @classmethod
    def load(
        cls, folder: Path, *, threads: int = 2, int8: bool = False, graph_cache: Path | None = None
    ) -> "Model":
        """Load a Hugging Face model folder (config.json and safetensors).

        Args:
            folder: The model.
            threads: Maximum threads of a pass.
            int8: Whether matrix products are int8-quantised: more than twice as fast, and no longer exact.
                Answers then depend slightly on the other tokens of their passes.
            graph_cache: Folder for built graphs; by default the user's cache folder.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        checkpoint = Checkpoint.open(folder)
        cache = graph_cache or user_cache_folder()
        sessions = open_sessions(checkpoint, cache, threads=threads, int8=int8)
        shapes = TokenShapes.load(folder, checkpoint.spec.vocabulary)
        return cls(checkpoint.spec, sessions, shapes, threads)
