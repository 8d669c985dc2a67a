"""Folders that commands write into."""

import pytest

from stream.errors import ConfigurationError
from stream.evaluation.output_folder import OutputFolder


def test_output_folder_holds_what_is_written(tmp_path):
    """A folder that did not exist is made, parents included, and holds the files."""
    OutputFolder.make(tmp_path / "new" / "folder").write({"a.txt": "é", "b.txt": ""})
    assert (tmp_path / "new" / "folder" / "a.txt").read_text("utf-8") == "é"
    assert (tmp_path / "new" / "folder" / "b.txt").exists()


def test_output_folder_that_cannot_be_is_refused_at_once(tmp_path):
    """A file in the folder's place is named before anything is computed."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file cannot be written"):
        OutputFolder.make(tmp_path / "file")
