"""Where the bundled checkpoint is."""

from pathlib import Path

from stream.errors import CheckpointError

NAME = "padellm-small-en"


def bundled_checkpoint() -> Path:
    """Folder of the checkpoint that ships with the package, in an installed wheel as in a source checkout.

    Raises:
        CheckpointError: Neither place holds it.
    """
    package = Path(__file__).resolve().parents[1]
    places = [
        root / "triton_models" / "checkpoints" / NAME for root in (package / "_bundled", package.parent)
    ]
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise CheckpointError(
        f"the bundled model {NAME} is in none of {', '.join(map(str, places))}: "
        "reinstall the package, or name a model folder with --model or PADELLM_MODEL"
    )
