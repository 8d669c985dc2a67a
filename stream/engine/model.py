"""A checkpoint that is ready to run: what several decoders can share."""

from dataclasses import dataclass
from pathlib import Path

from stream.engine.checkpoint import Checkpoint
from stream.engine.model_spec import ModelSpec
from stream.engine.session import Sessions, default_cache_folder, open_sessions
from stream.engine.token_shapes import TokenShapes


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
