"""A folder for the files that a command writes at its end."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stream.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Attributes: ``path``, an existing folder that can be written."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Self:
        """Make the folder before anything is computed that would be lost without it.

        Raises:
            ConfigurationError: It cannot be made or written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror or error}") from error
        if not os.access(path, os.W_OK):
            raise ConfigurationError(f"{path} cannot be written: name a folder of yours")
        return cls(path)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files.

        Args:
            files: Content by name.

        Raises:
            ConfigurationError: One cannot be written.
        """
        try:
            for name, content in files.items():
                (self.path / name).write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror or error}") from error
