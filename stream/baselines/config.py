"""The configuration of a baseline's checkpoint: ``baseline.json``, in place of ``ner_config.json``."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from stream.errors import CheckpointError
from stream.ner.config import BASELINE_FILE_NAME, NerConfig


class Baseline(StrEnum):
    """A format other than PaDeLLM's."""

    AUTOREG_STRUCT = "autoreg_struct"
    AUTOREG_AUG = "autoreg_aug"
    ONESTEP = "onestep"


class BaselineConfig(BaseModel):
    """The format of a checkpoint's answers, and the configuration that a checkpoint of ours has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Baseline
    ner: NerConfig

    @classmethod
    def load(cls, folder: Path) -> "BaselineConfig":
        """Read ``baseline.json`` of a model folder.

        Raises:
            CheckpointError: The file is missing or malformed.
        """
        path = folder / BASELINE_FILE_NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be read ({error.strerror}): "
                "`padellm train RECIPE --format autoreg_struct` makes a baseline"
            ) from error
        except ValidationError as error:
            raise CheckpointError(f"{path} is malformed: {error}") from error
