"""An adapter in PEFT's format merged with its base into a model folder, in numpy.

The adapter's folder holds ``adapter_model.safetensors``, ``adapter_config.json``, ``added_tokens.json`` (the
control tokens that the base lacks, by id) and ``ner_config.json``. LoRA on linear layers and rows of the
embedding that were trained themselves are what is merged.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer

from stream.bases.cached_folder import cached_folder, damaged_files, sha256
from stream.errors import CheckpointError

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADDED_TOKENS, NER_CONFIG = "added_tokens.json", "ner_config.json"
_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADDED_TOKENS, NER_CONFIG)
_WEIGHTS, _CONFIG, _TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
_LAYOUT = "2"

# PEFT's names of what it adds to a model's.
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_ROWS = ".token_adapter.trainable_tokens_delta"
_OTHER_KINDS = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern")
_TABLES = ("model.embed_tokens.weight", "lm_head.weight")

Array = NDArray[Any]
BaseFolder = Callable[[], Path]


def merged_folder(adapter: Path, base: BaseFolder, cache: Path) -> Path:
    """The model folder of an adapter, merged in the cache where it is not there yet.

    Args:
        adapter: The adapter's folder; its name is that of the model.
        base: Gives the base's folder; called only where something is to be merged.
        cache: The user's cache folder.

    Returns:
        A folder whose name ends with a hash over the adapter's files.

    Raises:
        CheckpointError: The adapter is incomplete or fits another base, or the base is damaged.
    """
    try:
        hashes = {name: sha256(adapter / name) for name in _FILES}
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read ({error.strerror}): reinstall it") from error
    origin = {"layout": _LAYOUT, "adapter": adapter.name, **hashes}
    # Two versions of this package may share the cache.
    place = cache / f"{adapter.name}-{_LAYOUT}-{hashes[ADAPTER_WEIGHTS][:8]}{hashes[NER_CONFIG][:4]}"

    def make(folder: Path) -> None:
        source = base()
        damaged = damaged_files(source)
        if damaged:
            raise CheckpointError(
                f"{source / damaged[0]} is not what was written there: delete {source}, and it is made anew"
            )
        merge(adapter, source, folder)

    return cached_folder(place, origin, make, megabytes=300)


def merge(adapter: Path, base: Path, folder: Path) -> None:
    """Write base and adapter as one model folder, of the base's type of numbers.

    Args:
        adapter: The adapter's folder.
        base: A model folder.
        folder: An empty folder.

    Raises:
        CheckpointError: They do not fit each other, or are of a kind that is not merged.
    """
    added: dict[str, int] = _read_json(adapter / ADDED_TOKENS)
    tokenizer = Tokenizer.from_file(str(base / _TOKENIZER))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in added])
    if any(tokenizer.token_to_id(token) != number for token, number in added.items()):
        raise CheckpointError(f"{adapter / ADDED_TOKENS} numbers tokens otherwise than {base} does")
    vocabulary = tokenizer.get_vocab_size()
    try:
        with safe_open(base / _WEIGHTS, framework="np") as file:
            weights = dict(_merged(file, _changes(adapter), vocabulary))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{base} or {adapter} cannot be read: {error}") from error
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{adapter} was not trained on {base}: {error}") from error
    save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
    tokenizer.save(str(folder / _TOKENIZER))
    config = _read_json(base / _CONFIG) | {"vocab_size": len(weights[_TABLES[0]])}
    (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for source in (base / "tokenizer_config.json", adapter / NER_CONFIG):
        shutil.copyfile(source, folder / source.name)


class _Changes:
    """An adapter's changes of a base's weights, by the base's names."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Array]) -> None:
        self._scale = config["lora_alpha"] / config["r"]
        self._tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
        self._row_numbers: dict[str, list[int]] = config.get("trainable_token_indices") or {}
        self._left = set(self._tensors)

    def applied(self, name: str, weight: Array) -> Array:
        """A weight with its change, rounded to its own type.

        It is computed in float64, so that every machine and version of numpy rounds to the same bytes.
        """
        layer = name.removesuffix(".weight")
        if layer + _UP not in self._tensors:
            return weight
        up, down = self._take(layer + _UP), self._take(layer + _DOWN)
        changed: Array = weight.astype(np.float64) + self._scale * (up @ down)
        return changed.astype(weight.dtype)

    def with_rows(self, name: str, table: Array, vocabulary: int) -> Array:
        """An embedding or head with a row for each token, those that were trained in their place."""
        layer = name.removesuffix(".weight")
        fresh = np.zeros((max(vocabulary, len(table)), table.shape[1]), dtype=table.dtype)
        fresh[: len(table)] = table
        if layer + _ROWS in self._tensors:
            fresh[self._row_numbers[layer]] = self._take(layer + _ROWS).astype(table.dtype)
        return fresh

    def refuse_leftovers(self) -> None:
        """Raise ValueError where a part of the adapter belongs to no weight."""
        if self._left:
            raise ValueError(f"{min(self._left)} changes no weight of it")

    def _take(self, name: str) -> NDArray[np.float64]:
        self._left.remove(name)
        return self._tensors[name].astype(np.float64)


def _changes(adapter: Path) -> _Changes:
    path = adapter / ADAPTER_CONFIG
    config = _read_json(path)
    unknown = [name for name in _OTHER_KINDS if config.get(name)]
    if config.get("peft_type") != "LORA" or unknown or config.get("bias", "none") != "none":
        raise CheckpointError(f"{path}: merged is plain LoRA without biases; this has {unknown or config}")
    indices = config.get("trainable_token_indices") or {}
    tables = {name.split(".")[-2]: name.removesuffix(".weight") for name in _TABLES}
    config["trainable_token_indices"] = {tables.get(name, name): rows for name, rows in indices.items()}
    return _Changes(config, load_file(adapter / ADAPTER_WEIGHTS))


def _merged(file: Any, changes: _Changes, vocabulary: int) -> Iterator[tuple[str, Array]]:
    for name in file.keys():  # noqa: SIM118 - no mapping
        weight = file.get_tensor(name)
        if name in _TABLES:
            yield name, changes.with_rows(name, weight, vocabulary)
        else:
            yield name, changes.applied(name, weight)
    changes.refuse_leftovers()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return content
