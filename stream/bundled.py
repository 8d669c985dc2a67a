"""Files that come with the package: checkpoints, Triton's model repository, sample documents.

A wheel holds them in ``_bundled``, a source checkout beside the package.
"""

from pathlib import Path

from stream.errors import CheckpointError

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "_bundled", _PACKAGE.parent)
SAMPLES = _PACKAGE / "local" / "samples" / "documents.jsonl"
ENGLISH = "padellm-small-en"
CHINESE = "padellm-small-zh"


def model_folder(model: Path | None) -> Path:
    """The folder of a model that a user names: a folder, or a bundled checkpoint by name.

    Args:
        model: None is the bundled English one. A folder that exists comes before a name.

    Raises:
        CheckpointError: A bundled checkpoint is meant and none of its places holds it.
    """
    if model is None:
        return _bundled(ENGLISH)
    if str(model) in {ENGLISH, CHINESE} and not model.exists():
        return _bundled(str(model))
    return model


def model_repository() -> Path:
    """Triton's model repository of the CPU engine."""
    return next(root for root in _ROOTS if root.is_dir()) / "triton_models" / "cpu"


def _bundled(name: str) -> Path:
    places = [root / "triton_models" / "checkpoints" / name for root in _ROOTS]
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise CheckpointError(
        f"the bundled model {name} is in none of {', '.join(map(str, places))}: "
        "reinstall the package, or name a model folder with --model or PADELLM_MODEL"
    )
