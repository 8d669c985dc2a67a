"""Runs programs: their output is captured, and shown when they fail."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class StackTestError(Exception):
    """The proof failed or cannot be made here; the message says what to do."""


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    patience: float = 120.0,
    stdin: str | None = None,
) -> str:
    """Standard output of a program that succeeds.

    Args:
        command: Program and arguments.
        environment: Set on top of this process's own.
        patience: Seconds it may take.
        stdin: Text for its standard input.

    Raises:
        StackTestError: It is not there, failed or took too long; with the end of its output.
    """
    words = [str(word) for word in command]
    try:
        answer = subprocess.run(
            words,
            env=os.environ | dict(environment or {}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
    except FileNotFoundError as error:
        raise StackTestError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise StackTestError(f"{' '.join(words)} was not done after {patience:.0f} seconds") from error
    if answer.returncode:
        tail = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[-25:])
        raise StackTestError(f"{' '.join(words)} failed with status {answer.returncode}:\n{tail}")
    return answer.stdout


def succeeds(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, patience: float = 30.0
) -> bool:
    """Whether a program is there and ends well."""
    try:
        run(command, environment=environment, patience=patience)
    except StackTestError:
        return False
    return True
