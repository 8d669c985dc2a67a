"""A folder that holds a report: ``report.json`` and ``report.html``."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stream.errors import ConfigurationError
from stream.evaluation.report import Report, whole
from stream.evaluation.report_page import as_page


@dataclass(frozen=True, slots=True)
class ReportFolder:
    """Attributes: ``path``, a folder that is there and can be written."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Self:
        """Make the folder, before anything is computed that would be lost without it.

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

    def write(self, report: Report) -> None:
        """Write both files.

        Raises:
            ConfigurationError: They cannot be written.
        """
        files = {
            "report.json": json.dumps(whole(report), indent=2, ensure_ascii=False) + "\n",
            "report.html": as_page(report),
        }
        try:
            for name, content in files.items():
                (self.path / name).write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror or error}") from error
