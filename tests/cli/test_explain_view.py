"""``padellm extract --explain``."""

import json
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from stream.bench.fixings import Fixing
from stream.cli import main
from stream.cli.explain_view import show_fixings
from tests.tiny_model import write_tiny_checkpoint


def explain(tmp_path, *options):
    """Extract from a short text, explained."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    arguments = ["extract", "Ann met Bo.", "--model", str(folder), "--explain", *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result


def test_explain_view_shows_every_pass_on_the_terminal(tmp_path):
    """Passes are numbered from the first, which prefills the text."""
    shown = explain(tmp_path).stdout
    assert "Pass 1" in shown
    assert "Ann met Bo." in shown
    assert "forward passes over" in shown


def test_explain_view_shows_the_fixing_pass_of_each_token():
    """Every pass has a line, with each token at its position in the answer, wide letters included."""
    out = StringIO()
    show_fixings(Console(file=out, width=80), [Fixing("place 1", ("東京", " Tower", "s"), (1, 3, 1))])
    assert [line.rstrip() for line in out.getvalue().splitlines()[:4]] == [
        "Fixed in pass  place 1",
        "    1  東京      s",
        "    2",
        "    3       Tower",
    ]


@pytest.mark.parametrize("strategy", ["plain", "jacobi", "gauss_seidel", "lud"])
def test_explain_view_takes_any_strategy(tmp_path, strategy):
    """Every one can be watched."""
    assert "forward passes over" in explain(tmp_path, "--strategy", strategy).stdout


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
