"""Folders that are made once and kept in the user's cache: whole or not there, whoever makes them."""

import errno
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.errors import CheckpointError

ORIGIN_FILE = "origin.json"
"""Name of the file with a folder's origin, and size and SHA-256 of each of its files."""

_MEGABYTE = 1_000_000

Origin = Mapping[str, str]


def cached_folder(folder: Path, origin: Origin, make: Callable[[Path], None], *, megabytes: int) -> Path:
    """Have a folder that was made from the given origin; make it where it is not there.

    Processes that want one folder at once wait for the one that makes it.

    Args:
        folder: Its place; an incomplete folder or one of another origin is replaced.
        origin: What it is made from; it is written into the folder.
        make: Fills an empty folder.
        megabytes: Free space that this takes at most.

    Returns:
        The folder.

    Raises:
        CheckpointError: The place cannot be written, or has too little space.
    """
    if is_complete(folder, origin):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            if not is_complete(folder, origin):
                _refuse_full_disk(folder, megabytes)
                _replace(folder, origin, make)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _too_full(folder, megabytes) from error
        raise CheckpointError(
            f"{folder} cannot be written ({error.strerror}): choose another place with PADELLM_CACHE_DIR"
        ) from error
    return folder


def is_complete(folder: Path, origin: Origin) -> bool:
    """Tell if a folder is there, of the given origin, with every file in its size; contents are not read."""
    stored = _stored(folder)
    if stored is None or stored["from"] != dict(origin):
        return False
    sizes = {name: file["size"] for name, file in stored["files"].items()}
    return all((folder / name).is_file() and (folder / name).stat().st_size == sizes[name] for name in sizes)


def damaged_files(folder: Path) -> list[str]:
    """Names of the files of a cached folder whose content is no longer what was written; all are read."""
    stored = _stored(folder)
    if stored is None:
        return [ORIGIN_FILE]
    return [name for name, file in stored["files"].items() if not _has(folder / name, file["sha256"])]


def sha256(path: Path) -> str:
    """Hash of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path) == digest


def _stored(folder: Path) -> dict[str, dict[str, Any]] | None:
    try:
        stored: dict[str, dict[str, Any]] = json.loads((folder / ORIGIN_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return stored if {"from", "files"} <= stored.keys() else None


def _replace(folder: Path, origin: Origin, make: Callable[[Path], None]) -> None:
    for left_behind in folder.parent.glob(f".{folder.name}-*"):  # by a process that was killed
        shutil.rmtree(left_behind)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
        fresh = Path(staging) / "fresh"
        fresh.mkdir()
        make(fresh)
        files = {
            path.name: {"size": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(fresh.iterdir())
        }
        (fresh / ORIGIN_FILE).write_text(
            json.dumps({"from": dict(origin), "files": files}, indent=2) + "\n", encoding="utf-8"
        )
        for path in fresh.iterdir():
            path.chmod(0o644)  # a server may run as another user
        if folder.exists():
            folder.rename(Path(staging) / "old")
        fresh.rename(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refuse_full_disk(folder: Path, megabytes: int) -> None:
    if shutil.disk_usage(folder.parent).free < megabytes * _MEGABYTE:
        raise _too_full(folder, megabytes)


def _too_full(folder: Path, megabytes: int) -> CheckpointError:
    free = shutil.disk_usage(folder.parent).free // _MEGABYTE
    return CheckpointError(
        f"{folder} needs {megabytes} MB while it is made, and {folder.parent} has {free} MB free: "
        "make room, or choose another place with PADELLM_CACHE_DIR"
    )
