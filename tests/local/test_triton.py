"""Where the embedded Triton runs, and what it says where it does not."""

import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from stream.bundled import model_repository
from stream.errors import StackError
from stream.fingerprint import checkpoint_sha256
from stream.generation import ModelStamp
from stream.inference.triton import stamp_in
from stream.local import triton as triton_server
from stream.local.triton import TritonServer, why_unavailable
from stream.ner.config import NerConfig
from tests.tiny_model import write_tiny_checkpoint


def _server(folder: Path, checkpoint: Path) -> TritonServer:
    return TritonServer(
        folder=folder,
        models=folder / "models",
        checkpoint=checkpoint,
        threads=3,
        http_port=1,
        grpc_port=2,
        metrics_port=3,
        log_file=folder / "triton.log",
    )


def _no_wheel(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(triton_server, "find_spec", lambda _: None)


def _macos(patch: pytest.MonkeyPatch) -> None:
    _no_wheel(patch)
    patch.setattr(platform, "system", lambda: "Darwin")


def _new_python(patch: pytest.MonkeyPatch) -> None:
    _no_wheel(patch)
    patch.setattr(sys, "version_info", (3, 13, 0))


def _musl(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(platform, "libc_ver", lambda: ("", ""))


def _old_glibc(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))


def _static_python(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(triton_server, "_python_library_folder", lambda: None)
    patch.setattr(triton_server, "find_library", lambda _: None)


_HAS_WHEEL = pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python has no Triton to break")


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        pytest.param(_no_wheel, "nvidia-pytriton wheel is not installed", marks=_HAS_WHEEL),
        (_macos, "Linux alone, and this is Darwin"),
        (_new_python, "no build for Python 3.13"),
        pytest.param(_musl, "another C library", marks=_HAS_WHEEL),
        pytest.param(_old_glibc, "this system has 2.31", marks=_HAS_WHEEL),
        pytest.param(_static_python, "shared library libpython3", marks=_HAS_WHEEL),
    ],
)
def test_triton_server_says_why_it_cannot_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, break_it: object, reason: str
) -> None:
    """Each machine it cannot run on gets its reason and what serves instead, before anything is started."""
    break_it(monkeypatch)
    assert reason in (why_unavailable() or "")
    assert "--inference in-process" in (why_unavailable() or "")
    with pytest.raises(StackError, match=r"--inference in-process"):
        _server(tmp_path, write_tiny_checkpoint(tmp_path / "model")).prepare()


@pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
def test_triton_server_prepares_twice_as_once(tmp_path: Path) -> None:
    """Preparing again leaves the same links, and mends those that lead nowhere."""
    server = _server(tmp_path, write_tiny_checkpoint(tmp_path / "model"))
    server.prepare()
    links = sorted((tmp_path / "backends" / "python").iterdir())
    links[0].unlink()
    links[0].symlink_to(tmp_path / "gone")
    server.prepare()
    assert sorted((tmp_path / "backends" / "python").iterdir()) == links
    assert all(link.exists() for link in links)


@pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
def test_triton_server_refuses_a_folder_without_a_model(tmp_path: Path) -> None:
    """A checkpoint that is not there is named before the server starts."""
    with pytest.raises(StackError, match="is no model folder"):
        _server(tmp_path, tmp_path / "nothing").prepare()


@pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
@pytest.mark.parametrize("name", ["My Documents", "modèle", "a;b"])
def test_triton_server_refuses_paths_its_backend_cannot_take(tmp_path: Path, name: str) -> None:
    """A folder name on which the stub would hang or fail is refused by name, with what to do."""
    with pytest.raises(StackError, match=f"{name}.*without spaces"):
        _server(tmp_path, write_tiny_checkpoint(tmp_path / name)).prepare()


@pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
def test_triton_server_listens_on_loopback_alone(tmp_path: Path) -> None:
    """Each of its three servers is bound to 127.0.0.1 and the port it was given."""
    command = _server(tmp_path, tmp_path).command()
    for kind, port in (("http", 1), ("grpc", 2), ("metrics", 3)):
        assert f"--{kind}-address=127.0.0.1" in command
        assert f"--{kind}-port={port}" in command


@pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
def test_triton_server_states_the_checkpoint_that_it_serves(tmp_path: Path) -> None:
    """The model's configuration has hash, name and version of the checkpoint, and the model's files."""
    checkpoint = write_tiny_checkpoint(tmp_path / "model")
    server = replace(_server(tmp_path, checkpoint), models=model_repository())
    server.prepare()
    model = tmp_path / "repository" / "tensorrt_llm"
    config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    config_of_checkpoint = NerConfig.load(checkpoint)
    assert stamp_in(config) == ModelStamp(
        checkpoint_sha256(checkpoint), config_of_checkpoint.name, config_of_checkpoint.version
    )
    assert {file.name for file in (model / "1").iterdir()} == {"model.py"}
