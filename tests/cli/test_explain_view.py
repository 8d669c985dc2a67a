"""``padellm extract --explain``."""

import json

from typer.testing import CliRunner

from stream.cli import main
from tests.tiny_model import write_tiny_checkpoint


def explain(tmp_path, *options):
    """Extract from a short text, explained."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    arguments = ["extract", "Ann met Bo.", "--model", str(folder), "--explain", *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result


def test_explain_view_shows_every_pass_on_the_terminal(tmp_path):
    """Passes are numbered from the first, which reads the text."""
    shown = explain(tmp_path).stdout
    assert "Pass 1" in shown
    assert "Ann met Bo." in shown
    assert "forward passes over" in shown


def test_explain_view_leaves_stdout_to_the_json(tmp_path):
    """With --json the passes go to stderr, and the last line is the extraction."""
    result = explain(tmp_path, "--json")
    assert "Pass 1" in result.stderr
    assert "entities" in json.loads(result.stdout.splitlines()[-1])


def test_explain_view_writes_the_page(tmp_path):
    """--html writes a page with the same passes."""
    explain(tmp_path, "--html", str(tmp_path / "decode.html"))
    page = (tmp_path / "decode.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Pass 1" in page
