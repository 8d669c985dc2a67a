"""Files that come with the package: checkpoints and sample documents."""

from pathlib import Path

from stream.errors import CheckpointError

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


def sample_documents() -> Path:
    """The file of sample documents, JSON Lines."""
    return Path(__file__).parent / "local" / "samples" / "documents.jsonl"


def _bundled(name: str) -> Path:
    """In an installed wheel as in a source checkout."""
    package = Path(__file__).resolve().parent
    places = [
        root / "triton_models" / "checkpoints" / name for root in (package / "_bundled", package.parent)
    ]
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise CheckpointError(
        f"the bundled model {name} is in none of {', '.join(map(str, places))}: "
        "reinstall the package, or name a model folder with --model or PADELLM_MODEL"
    )
