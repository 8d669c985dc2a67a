"""The repository that an image makes at its start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from stream.bundled import model_folder
from stream.fingerprint import checkpoint_sha256
from stream.generation import ModelStamp
from stream.inference.triton import stamp_in

MODELS = Path(__file__).resolve().parents[2] / "triton_models"


def start(backend: str, folder: Path, model: str) -> list[str]:
    """What the server is started with, where ``echo`` stands for it."""
    command = [sys.executable, "-m", "stream.inference.repository", str(MODELS / backend), str(folder)]
    environment = os.environ | {"PADELLM_MODEL": model}
    run = subprocess.run(
        [*command, "echo", "--flag"], env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


@pytest.mark.parametrize("backend", ["cpu", "vllm", "llmapi"])
def test_repository_states_the_checkpoint_that_is_served(tmp_path: Path, backend: str) -> None:
    """The server starts on a repository with the same code, and with hash, name and version of the model."""
    folder = model_folder(None)
    assert start(backend, tmp_path / "models", str(folder)) == [
        "--flag",
        f"--model-repository={tmp_path / 'models'}",
    ]
    model = tmp_path / "models" / "tensorrt_llm"
    config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert stamp_in(config) == ModelStamp(checkpoint_sha256(folder), "padellm-small-en", "4")
    original = MODELS / backend / "tensorrt_llm" / "1" / "model.py"
    assert (model / "1" / "model.py").read_bytes() == original.read_bytes()


def test_repository_of_a_model_by_name_is_served_as_it_is(tmp_path: Path) -> None:
    """A bundled name is resolved by the engine's own start: the repository stays as in the image."""
    assert start("cpu", tmp_path / "models", "padellm-small-zh")[-1] == f"--model-repository={MODELS / 'cpu'}"
