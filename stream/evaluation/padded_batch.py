"""Decoding as the script of PaDeLLM-NER's authors does it on one device: prompts are rows of a padded batch.

Every row reads its whole prompt, whatever it shares with others; rows step together until all are done,
and each keeps its own keys and values. The graph is the engine's own, with a row dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from stream.engine.checkpoint import Checkpoint, ModelSpec
from stream.engine.graph import build_graph
from stream.evaluation.gold import Forced

_HIDDEN = np.float32(-1e9)
_ROW_SHAPES = {"ids": ("B", "N"), "positions": ("B", "N"), "past": ("B", "P"), "mask": ("B", 1, "N", "T")}

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BatchRun:
    """What a batch took.

    Attributes:
        passes: Forward passes, one after the other.
        tokens_read: Tokens that went through the model, padding included.
        chosen: For each row the likeliest token at every step of its answer.
    """

    passes: int
    tokens_read: int
    chosen: list[tuple[int, ...]]


class PaddedBatch:
    """Decodes batches with forced answers; may be used by several threads at once.

    Args:
        spec: The model's shapes.
        session: Over ``with_rows(build_graph(...))``.
    """

    def __init__(self, spec: ModelSpec, session: onnxruntime.InferenceSession) -> None:
        self._spec = spec
        self._session = session

    @classmethod
    def load(cls, folder: Path) -> "PaddedBatch":
        """Load a Hugging Face model folder.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        checkpoint = Checkpoint.open(folder)
        graph = with_rows(build_graph(checkpoint.spec, checkpoint.weights()))
        options = onnxruntime.SessionOptions()
        # As the engine has it: one thread a pass, and several passes at once.
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return cls(checkpoint.spec, session)

    def decode(self, rows: Sequence[Forced]) -> BatchRun:
        """Decode prompts in lock-step, each to its forced answer.

        Args:
            rows: At least one.
        """
        width, steps = max(len(row.prompt.ids) for row in rows), max(row.steps for row in rows)
        state = _State.of(self._spec, len(rows), width + steps - 1)
        ids = np.zeros((len(rows), width), np.int64)
        padding = np.array([width - len(row.prompt.ids) for row in rows])
        for index, row in enumerate(rows):
            ids[index, padding[index] :] = row.prompt.ids
        likeliest = [self._forward(state, ids, padding)]
        for step in range(1, steps):
            # Rows that are done go on with padding, as a batch does.
            forced = [row.answer[step - 1] if step <= len(row.answer) else row.prompt.end_id for row in rows]
            likeliest.append(self._forward(state, np.array(forced, np.int64)[:, None], padding))
        chosen = [
            tuple(each[: row.steps]) for row, each in zip(rows, zip(*likeliest, strict=True), strict=True)
        ]
        return BatchRun(steps, len(rows) * (width + steps - 1), chosen)

    def _forward(self, state: "_State", ids: NDArray[np.int64], padding: NDArray[np.int64]) -> list[int]:
        """Read a block of tokens in every row and keep keys and values; the likeliest next token of each."""
        batch, new = ids.shape
        past, total = state.used, state.used + new
        columns = np.arange(total)
        seen = (columns <= columns[past:, None]) & (columns >= padding[:, None, None])
        names = ["logits", *state.new_names]
        logits, *kept = self._session.run(
            names,
            {
                "ids": ids,
                "positions": np.maximum(columns[past:] - padding[:, None], 0),
                "past": state.slots[:, :past],
                "mask": np.where(seen, np.float32(0), _HIDDEN)[:, None],
                "rows": np.array([new - 1], np.int64),
                **state.pool,
            },
        )
        state.keep(kept)
        likeliest: list[int] = logits.reshape(batch, -1).argmax(axis=1).tolist()
        return likeliest


@dataclass(slots=True)
class _State:
    """Keys and values of all rows: a pool by layer, where row b owns slots b * length to (b + 1) * length."""

    slots: NDArray[np.int64]
    pool: dict[str, FloatArray]
    used: int = 0

    @classmethod
    def of(cls, spec: ModelSpec, rows: int, length: int) -> "_State":
        pool = {
            f"{part}_{layer}": np.empty((rows * length, spec.kv_width), np.float32)
            for layer in range(spec.layers)
            for part in ("keys", "values")
        }
        return cls(np.arange(rows * length).reshape(rows, length), pool)

    @property
    def new_names(self) -> list[str]:
        return [f"new_{name}" for name in self.pool]

    def keep(self, new: list[FloatArray]) -> None:
        count = new[0].shape[1]
        into = self.slots[:, self.used : self.used + count]
        for kept, added in zip(self.pool.values(), new, strict=True):
            kept[into] = added
        self.used += count


def with_rows(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The engine's graph with a row dimension: its operators take one already, only its shapes forbid it."""
    for value in graph.graph.input:
        if value.name in _ROW_SHAPES:
            value.CopyFrom(
                onnx.helper.make_tensor_value_info(
                    value.name, value.type.tensor_type.elem_type, _ROW_SHAPES[value.name]
                )
            )
    for value in graph.graph.output:
        if value.name.startswith("new_"):
            value.type.tensor_type.shape.dim[0].dim_param = "B"
    return graph
