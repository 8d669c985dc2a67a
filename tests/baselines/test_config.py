"""Checkpoints of baselines."""

import pytest

from stream.baselines.config import Baseline, BaselineConfig
from stream.errors import CheckpointError
from stream.ner.template import PromptTemplate
from tests.tiny_model import tiny_ner_config, write_tiny_checkpoint


def test_config_of_a_baseline_is_read_back(tmp_path):
    """A written configuration is read back, format and template."""
    config = BaselineConfig(format=Baseline.ONESTEP, ner=tiny_ner_config())
    (tmp_path / "baseline.json").write_text(config.model_dump_json())
    assert BaselineConfig.load(tmp_path) == config


def test_config_a_baseline_cannot_be_served(tmp_path):
    """A baseline opened like a model of ours is refused, and the command that scores it is named."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", baseline=Baseline.AUTOREG_AUG)
    with pytest.raises(CheckpointError, match=r"holds a baseline .* cannot be served: `padellm evaluate"):
        PromptTemplate.load(folder)
    ner = BaselineConfig.load(folder).ner
    assert PromptTemplate.load(folder, ner).config == ner


def test_config_of_another_folder_is_refused(tmp_path):
    """A folder without ``baseline.json``, or with nonsense in it, is named."""
    with pytest.raises(CheckpointError, match=r"baseline\.json cannot be read .*padellm train"):
        BaselineConfig.load(tmp_path)
    (tmp_path / "baseline.json").write_text('{"format": "other"}')
    with pytest.raises(CheckpointError, match="malformed"):
        BaselineConfig.load(tmp_path)
