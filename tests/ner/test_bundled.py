"""Where the bundled checkpoint is."""

import pytest

from stream.errors import CheckpointError
from stream.ner import bundled


@pytest.mark.parametrize("place", ["stream/_bundled/triton_models", "triton_models"])
def test_bundled_is_found_in_a_wheel_and_in_a_checkout(tmp_path, monkeypatch, place):
    """The checkpoint is found inside the package and beside it."""
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "stream" / "ner" / "bundled.py"))
    folder = tmp_path / place / "checkpoints" / bundled.NAME
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert bundled.bundled_checkpoint() == folder


def test_bundled_missing_says_where_it_looked(tmp_path, monkeypatch):
    """Without a checkpoint the message names the places and the way out."""
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "stream" / "ner" / "bundled.py"))
    with pytest.raises(CheckpointError, match="--model"):
        bundled.bundled_checkpoint()
