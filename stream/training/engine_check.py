"""Whether the CPU engine will serve what a run trains."""

from pathlib import Path

from transformers import PreTrainedModel

from stream.engine.checkpoint import CONFIG_FILE
from stream.engine.model_spec import refuse_unserved
from stream.errors import CheckpointError


def engine_refusal(model: PreTrainedModel) -> str | None:
    """Why the CPU engine would refuse a model, and what it serves instead; None where it serves it."""
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    try:
        refuse_unserved(config, Path(CONFIG_FILE))
    except CheckpointError as error:
        return str(error).removeprefix(f"{CONFIG_FILE}: ")
    return None
