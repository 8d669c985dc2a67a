"""Small parts for the supervisor's tests: real processes, of this Python."""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Script:
    """A part that runs Python code; ready when the code has made the file that its first argument names."""

    name: str
    folder: Path
    code: str

    @property
    def log_file(self) -> Path:
        """Output."""
        return self.folder / f"{self.name}.log"

    @property
    def flag(self) -> Path:
        """The file whose existence says ready."""
        return self.folder / f"{self.name}.ready"

    def prepare(self) -> None:
        """Not ready any more."""
        self.flag.unlink(missing_ok=True)

    def command(self) -> list[str]:
        """The code under this Python."""
        return [sys.executable, "-u", "-c", self.code, str(self.flag)]

    def environment(self) -> dict[str, str]:
        """As it is."""
        return {}

    async def is_ready(self) -> bool:
        """Whether the flag is there."""
        return self.flag.exists()

    def describe(self) -> str:
        """Its name."""
        return self.name


STAY = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
"""Gets ready and stays."""

WITH_CHILD = (
    "import pathlib, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
    "time.sleep(600)"
)
"""Gets ready and stays, and has a child whose process id is in its flag file."""

FAIL = "import sys; print('no such luck'); sys.exit(3)"
"""Ends at once."""
