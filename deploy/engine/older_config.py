"""Write a view of a model folder that transformers 4, which TensorRT-LLM 1.2.1 pins, reads as it was meant.

transformers 5 keeps rotary embeddings under ``rope_parameters``, the weights' type under ``dtype``, and names
its tokenizer class ``TokenizersBackend``. Version 4 knows none of them: it falls back to a rotary base of
10,000 without a word, and fails on the tokenizer. The view says the same in the older words and links every
other file. It needs the standard library alone.

    python3 older_config.py MODEL_DIR VIEW_DIR
"""

import json
import sys
from pathlib import Path
from typing import Any

# The kinds of scaling that transformers 4.57 reads for the families that TensorRT-LLM builds here.
ROPE_TYPES = {"default", "linear", "dynamic", "yarn", "longrope", "llama3"}
TOKENIZER_CLASS = "PreTrainedTokenizerFast"
_REWRITTEN = {"config.json", "tokenizer_config.json"}


class UnsupportedModelError(Exception):
    """The folder cannot be said in the words of transformers 4."""


def older_config(config: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``config.json`` in the words of transformers 4.

    Raises:
        UnsupportedModelError: Its rotary embedding has no older words.
    """
    older = {name: value for name, value in config.items() if name not in {"rope_parameters", "dtype"}}
    if "dtype" in config:
        older["torch_dtype"] = config["dtype"]
    rope = config.get("rope_parameters")
    if rope is None:
        return older
    kind = rope.get("rope_type", "default")
    if isinstance(kind, dict) or any(isinstance(value, dict) for value in rope.values()):
        raise UnsupportedModelError("rope_parameters differ by layer, which transformers 4 cannot be told")
    if kind not in ROPE_TYPES:
        raise UnsupportedModelError(f"the rope_type {kind!r} is none of {', '.join(sorted(ROPE_TYPES))}")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        older["partial_rotary_factor"] = rope["partial_rotary_factor"]
    if "rope_theta" not in rope:
        raise UnsupportedModelError("rope_parameters hold no rope_theta")
    older["rope_theta"] = rope["rope_theta"]
    apart = {"rope_theta", "partial_rotary_factor"}
    scaling = {name: value for name, value in rope.items() if name not in apart}
    older["rope_scaling"] = None if kind == "default" else scaling
    return older


def older_tokenizer_config(config: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``tokenizer_config.json`` in the words of transformers 4."""
    older = {name: value for name, value in config.items() if name != "backend"}
    if config.get("tokenizer_class") == "TokenizersBackend":
        older["tokenizer_class"] = TOKENIZER_CLASS
    # A list in version 5; version 4 reads a mapping of roles here, and the plain list under another name.
    if isinstance(config.get("extra_special_tokens"), list):
        older["additional_special_tokens"] = older.pop("extra_special_tokens")
    return older


def write_view(model: Path, view: Path) -> None:
    """Write the view of a model folder.

    Args:
        model: A folder in Hugging Face's layout.
        view: A folder that does not exist yet.

    Raises:
        UnsupportedModelError: The model cannot be said in the words of transformers 4, or is an adapter.
    """
    if (model / "adapter_config.json").exists() and not (model / "config.json").exists():
        raise UnsupportedModelError("it is an adapter: merge it into its base first (docs/serving.md)")
    config = older_config(json.loads((model / "config.json").read_text(encoding="utf-8")))
    view.mkdir(parents=True)
    for file in sorted(model.iterdir()):
        if file.is_file() and file.name not in _REWRITTEN:
            (view / file.name).symlink_to(file.resolve())
    _write(view / "config.json", config)
    tokenizer = model / "tokenizer_config.json"
    if tokenizer.exists():
        _write(
            view / tokenizer.name, older_tokenizer_config(json.loads(tokenizer.read_text(encoding="utf-8")))
        )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Write the view that the command line names; returns 1 where the model cannot be said."""
    model, view = map(Path, sys.argv[1:])
    try:
        write_view(model, view)
    except UnsupportedModelError as error:
        print(f"{model} cannot be built by TensorRT-LLM 1.2.1: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
