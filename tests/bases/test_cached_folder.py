"""Folders that are made once and kept in the user's cache."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from stream.bases.cached_folder import cached_folder, damaged_files
from stream.errors import CheckpointError

ORIGIN = {"from": "here"}


def maker(made, content="content"):
    """What fills a folder, and counts how often it did."""

    def make(folder):
        made.append(folder)
        (folder / "file").write_text(content)

    return make


def test_cache_makes_a_folder_once_for_all_who_want_it(tmp_path):
    """Eight that want one folder at once get the one that one of them made."""
    folder, made = tmp_path / "a", []
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(cached_folder, folder, ORIGIN, maker(made), megabytes=1)
    assert len(made) == 1
    assert (tmp_path / "a" / "file").read_text() == "content"


@pytest.mark.parametrize("fault", ["shorter", "missing", "no origin", "other origin"])
def test_cache_makes_an_incomplete_folder_anew(tmp_path, fault):
    """A folder that lacks something, or is of another origin, is replaced as a whole."""
    folder, made = tmp_path / "a", []
    cached_folder(folder, ORIGIN, maker(made, "old"), megabytes=1)
    if fault == "shorter":
        (folder / "file").write_text("ol")
    elif fault == "missing":
        (folder / "file").unlink()
    elif fault == "no origin":
        (folder / "origin.json").write_text("{")
    origin = {"from": "elsewhere"} if fault == "other origin" else ORIGIN
    cached_folder(folder, origin, maker(made, "new"), megabytes=1)
    assert (folder / "file").read_text() == "new"
    assert len(made) == 2


def test_cache_leaves_nothing_of_what_failed(tmp_path):
    """A folder whose making fails is not there, nor is any part of it, and the next one may try."""

    def fail(folder):
        (folder / "half").write_text("half")
        raise CheckpointError("no network")

    with pytest.raises(CheckpointError, match="no network"):
        cached_folder(tmp_path / "a", ORIGIN, fail, megabytes=1)
    assert [path.name for path in tmp_path.iterdir()] == [".a.lock"]
    assert cached_folder(tmp_path / "a", ORIGIN, maker([]), megabytes=1).is_dir()


def test_cache_clears_away_what_a_killed_process_left(tmp_path):
    """Half a folder that a kill left in the cache is gone once the folder is made."""
    (tmp_path / ".a-killed" / "fresh").mkdir(parents=True)
    cached_folder(tmp_path / "a", ORIGIN, maker([]), megabytes=1)
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".a.lock"}


def test_cache_without_space_says_how_much_is_needed(tmp_path, monkeypatch):
    """A full disk is named before anything is fetched, and when it fills up meanwhile, with the way out."""

    def fill(_folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"a needs 1 MB .* MB free: make room.*PADELLM_CACHE_DIR"):
        cached_folder(tmp_path / "a", ORIGIN, fill, megabytes=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=5_000_000))
    with pytest.raises(CheckpointError, match=r"a needs 6 MB .* has 5 MB free"):
        cached_folder(tmp_path / "a", ORIGIN, maker([]), megabytes=6)


def test_cache_that_cannot_be_written_is_named(tmp_path):
    """A cache place that is no folder is an error that names the setting."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="choose another place with PADELLM_CACHE_DIR"):
        cached_folder(tmp_path / "file" / "a", ORIGIN, maker([]), megabytes=1)


def test_cache_finds_changed_contents(tmp_path):
    """A file with the old size and another content is found by its hash."""
    folder = cached_folder(tmp_path / "a", ORIGIN, maker([]), megabytes=1)
    assert damaged_files(folder) == []
    (folder / "file").write_text("CONTENT")
    assert damaged_files(folder) == ["file"]
