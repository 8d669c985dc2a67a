"""Whether the CPU engine will serve what a run trains."""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.numpy import save_file
from transformers import PreTrainedModel

from stream.engine.checkpoint import CONFIG_FILE, WEIGHTS_FILE, Checkpoint
from stream.errors import CheckpointError


def engine_refusal(model: PreTrainedModel) -> str | None:
    """Why the CPU engine would refuse a model, and what it serves instead; None where it serves it."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    with TemporaryDirectory() as name:
        folder = Path(name)
        config.save_pretrained(folder)
        save_file({}, folder / WEIGHTS_FILE)
        try:
            Checkpoint.open(folder)
        except CheckpointError as error:
            return str(error).removeprefix(f"{folder / CONFIG_FILE}: ")
    return None
