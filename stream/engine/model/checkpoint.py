"""Shapes and fp32 weights of a Hugging Face model folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy, so that safetensors can hand it over
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from stream.engine.model.config import ModelSpec, refuse_unserved
from stream.errors import CheckpointError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model folder that can be run; its weights stay on disk until ``weights`` is called.

    Attributes:
        config_file: The configuration.
        weight_files: One or several safetensors files.
    """

    spec: ModelSpec
    config_file: Path
    weight_files: tuple[Path, ...]

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """Read the configuration of a model folder and find its weights.

        Raises:
            CheckpointError: A file is missing or malformed, or the engine does not serve such a model.
        """
        config_file = folder / CONFIG_FILE
        config = _read_json(config_file)
        weight_files = _weight_files(folder)
        refuse_unserved(config, config_file)
        tied = config.get("tie_word_embeddings")
        if tied is None:
            tied = not any("lm_head.weight" in _tensor_names(path) for path in weight_files)
        try:
            spec = ModelSpec.read(config, tied=bool(tied))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{config_file}: a required field is missing or malformed: {error!r}"
            ) from error
        return cls(spec, config_file, weight_files)

    def weights(self) -> dict[str, FloatArray]:
        """All tensors by their Hugging Face name, as fp32.

        Raises:
            CheckpointError: A file is damaged, or a tensor has a data type that is not served.
        """
        tensors: dict[str, FloatArray] = {}
        for path in self.weight_files:
            try:
                with safe_open(path, framework="np") as file:
                    tensors |= {name: _as_fp32(file.get_tensor(name), name, path) for name in file.keys()}  # noqa: SIM118 - no mapping
            except (SafetensorError, OSError, TypeError) as error:
                raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
        return tensors


def _weight_files(folder: Path) -> tuple[Path, ...]:
    whole = folder / WEIGHTS_FILE
    if whole.is_file():
        return (whole,)
    index = folder / INDEX_FILE
    if not index.is_file():
        raise CheckpointError(
            f"{folder} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}: a model needs safetensors weights"
        )
    names = sorted(set(_read_json(index).get("weight_map", {}).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise CheckpointError(f"{index} names weight files that do not exist: {', '.join(missing) or 'none'}")
    return tuple(folder / name for name in names)


def _tensor_names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="np") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error


def _as_fp32(tensor: NDArray[Any], name: str, path: Path) -> FloatArray:
    if tensor.dtype.name not in ("float16", "bfloat16", "float32"):
        raise CheckpointError(
            f"{path}: tensor {name} is {tensor.dtype}; served are float16, bfloat16 and float32"
        )
    return np.ascontiguousarray(tensor, dtype=np.float32)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): is this a model folder?") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return content
