"""ONNX Runtime sessions over a checkpoint's graph, and the model that several decoders share."""

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

GRAPH_FILE = "graph.onnx"
TENSORS_FILE = "graph.tensors"
_GRAPHS_KEPT = 4
_BUILDING = "building-"
_ABANDONED = 3600  # seconds

# A thread that waits between two operators of a pass gives its core away after so many microseconds. Three
# passes took 13.8 ms with 20, 14.9 with 5 and 17.1 with 0 on two idle cores; where another program held one
# of them 26, 21 and 22, and 45 with no end to waiting, which keeps the working thread from its core.
_SPIN_MICROSECONDS = "10"
_SPINS_BRIEFLY = (1, 26)  # the first ONNX Runtime in which waiting has an end

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Two ways to run one graph; where it lies on disk they share the memory of its weights.

    Attributes:
        narrow: Runs a pass on the thread that calls; several threads may call at once.
        wide: Spreads a pass over several threads; the same as ``narrow`` where there is one thread only.
    """

    narrow: onnxruntime.InferenceSession
    wide: onnxruntime.InferenceSession


def default_cache_folder() -> Path:
    """Where built graphs are kept: ``$XDG_CACHE_HOME/padellm``, or else ``~/.cache/padellm``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "padellm"


def open_sessions(
    checkpoint: Checkpoint, cache_folder: Path, *, threads: int, int8: bool = False
) -> Sessions:
    """Open sessions over the checkpoint's graph, building the graph when the cache does not hold it.

    A cache folder that cannot be written is no error: the graph is then built in memory each time.

    Args:
        checkpoint: The model.
        cache_folder: Where built graphs are kept.
        threads: Of a pass in the wide session.
        int8: Whether matrix products are of 8-bit integers, as ``build_graph`` has it.

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
    with suppress(OSError):  # a filled cache may be read-only
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
    """Of all that a stored graph depends on; its weights lie as this processor's kernels want them."""
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
    """What this processor can do, as far as the system tells."""
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
            # Another process was faster; its graph is the same.
            if not (folder / GRAPH_FILE).is_file():
                raise


def _prepare(plain: Path, ready: Path) -> None:
    """Store a graph with its weights as the kernels want them.

    They are then mapped when a session loads them, not copied: sessions and processes share them.
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
    """Remove the graphs used longest ago, and what a process left that died while it built one."""
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
            f"a model over 2 GB needs a folder to build its graph in, and {folder} cannot be written: "
            "set XDG_CACHE_HOME to one that can"
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
    """A model in memory.

    Attributes:
        spec: Its shapes.
        sessions: Run its graph.
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
            threads: Threads that a pass may be spread over.
            int8: Whether matrix products are of 8-bit integers: more than twice as fast, and no longer exact.
                Answers then depend a little on what is read beside them, so strategies agree only mostly.
            graph_cache: Where built graphs are kept; by default the user's cache folder.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        checkpoint = Checkpoint.open(folder)
        cache = graph_cache or default_cache_folder()
        sessions = open_sessions(checkpoint, cache, threads=threads, int8=int8)
        shapes = TokenShapes.load(folder, checkpoint.spec.vocabulary)
        return cls(checkpoint.spec, sessions, shapes, threads)
