"""Folders that come with the package."""

from pathlib import Path

import pytest

from stream import bundled
from stream.bundled import CHINESE, ENGLISH, model_folder, model_repository
from stream.errors import CheckpointError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that bundles nothing."""
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "stream" / "bundled.py"))
    return tmp_path


@pytest.mark.parametrize("place", ["stream/_bundled/triton_models", "triton_models"])
@pytest.mark.parametrize(
    ("model", "name"), [(None, ENGLISH), (Path(ENGLISH), ENGLISH), (Path(CHINESE), CHINESE)]
)
def test_bundled_is_found_in_a_wheel_and_in_a_checkout(package, place, model, name):
    """A bundled checkpoint is found by its name inside the package and beside it; English is the default."""
    folder = package / place / "checkpoints" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert model_folder(model) == folder


@pytest.mark.parametrize("place", ["stream/_bundled/triton_models", "triton_models"])
def test_bundled_model_repository_is_found_in_a_wheel_and_in_a_checkout(package, place):
    """Triton's model repository is found inside the package and beside it."""
    (package / place / "cpu").mkdir(parents=True)
    assert model_repository() == package / place / "cpu"


def test_bundled_folder_comes_before_name(package, tmp_path, monkeypatch):
    """Who names a folder gets it, whatever it is called."""
    monkeypatch.chdir(tmp_path)
    Path(CHINESE).mkdir()
    assert model_folder(Path(CHINESE)) == Path(CHINESE)
    assert model_folder(Path("my/model")) == Path("my/model")


def test_bundled_missing_says_where_it_looked(package):
    """Without a checkpoint the message names the places and the way out."""
    with pytest.raises(CheckpointError, match="--model"):
        model_folder(None)
