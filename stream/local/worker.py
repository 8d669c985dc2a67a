"""The worker as a part of the stack: the same program that ``padellm worker`` runs in production."""

import asyncio
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from stream.settings import Settings


@dataclass(frozen=True)
class Worker:
    """A worker process.

    Attributes:
        settings: Handed to the process through its environment.
        log_file: Where its output goes.
    """

    settings: Settings
    log_file: Path

    name = "worker"

    def prepare(self) -> None:
        """Nothing to prepare."""

    def command(self) -> list[str]:
        """This Python, running ``padellm worker``."""
        return [sys.executable, "-m", "stream.cli", "worker"]

    def environment(self) -> dict[str, str]:
        """Every setting as its variable."""
        values = self.settings.model_dump(mode="json", exclude_none=True)
        return {f"PADELLM_{name.upper()}": str(value) for name, value in values.items()}

    async def is_ready(self) -> bool:
        """What its ``/readyz`` says."""
        return await asyncio.to_thread(self._answers_ready)

    def describe(self) -> str:
        """What and where it is."""
        return f"worker, group {self.settings.group}, model {self.settings.inference.value}"

    @property
    def address(self) -> str:
        """URL of its health and metrics pages."""
        return f"http://{self.settings.health_host}:{self.settings.health_port}"

    def _answers_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=2) as answer:  # noqa: S310 - http, ours
                return bool(answer.status == 200)  # noqa: PLR2004 - OK
        except (urllib.error.URLError, OSError):
            return False
