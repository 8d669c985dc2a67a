"""Programs run with captured output, which is shown when they fail."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_TIME_TO_END = 5.0


class StackTestError(Exception):
    """A check failed, or cannot be made on this machine; the message has the remedy."""


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    patience: float = 120.0,
    stdin: str | None = None,
) -> str:
    """Run a program that must succeed, and return its standard output.

    Args:
        command: Program and arguments.
        environment: Set on top of this process's own.
        patience: Seconds it may take.
        stdin: Text for its standard input.

    Raises:
        StackTestError: It is missing, failed or took too long; the message has the end of its output.
    """
    words = [str(word) for word in command]
    try:
        status, output, errors = _run(words, os.environ | dict(environment or {}), patience, stdin)
    except FileNotFoundError as error:
        raise StackTestError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise StackTestError(f"{' '.join(words)} was not done after {patience:.0f} seconds") from error
    if status:
        tail = "\n".join((output + errors).strip().splitlines()[-25:])
        raise StackTestError(f"{' '.join(words)} failed with status {status}:\n{tail}")
    return output


def _run(
    words: list[str], environment: Mapping[str, str], patience: float, stdin: str | None
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error; an interrupted program is ended in order."""
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            output, errors = process.communicate(stdin, timeout=patience)
        except BaseException:
            _end(process)
            raise
        return process.returncode, output, errors


def _end(process: "subprocess.Popen[str]") -> None:
    """Terminate, and kill only after a while: the program may have to clean up."""
    process.terminate()
    try:
        process.wait(_TIME_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()


def succeeds(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, patience: float = 30.0
) -> bool:
    """Run a program; True when it exists and succeeds."""
    try:
        run(command, environment=environment, patience=patience)
    except StackTestError:
        return False
    return True


def mounts_below(folder: Path) -> list[str]:
    """Mount points in a folder, as this process sees them; none on systems other than Linux."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    points = (line.split()[4] for line in lines)
    return [point for point in points if point == str(folder) or point.startswith(f"{folder}/")]
