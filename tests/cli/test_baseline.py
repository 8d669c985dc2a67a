"""``padellm baseline``."""

import json

import pytest
from typer.testing import CliRunner

from stream.baselines.config import Baseline
from stream.cli import main
from tests.tiny_model import write_tiny_checkpoint

LINES = [
    {"text": "Ann met Bo.", "entities": [{"start": 0, "end": 3, "text": "Ann", "label": "PER"}]},
    {"text": "It rained.", "entities": []},
]


@pytest.fixture
def call(tmp_path):
    """Runs ``padellm baseline`` on a tiny model and two documents."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", baseline=Baseline.ONESTEP)
    data = tmp_path / "dev.jsonl"
    data.write_text("\n".join(map(json.dumps, LINES)))

    def run(*options):
        arguments = ["baseline", "--model", str(folder), "--data", str(data), *options]
        return CliRunner().invoke(main, arguments)

    return run


def test_baseline_prints_the_figures_of_evaluate(call):
    """With --json the last line holds what ``padellm evaluate`` prints, the format and the policy."""
    result = call("--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout.splitlines()[-1])
    assert (figures["format"], figures["policy"], figures["documents"]) == ("onestep", "paper", 2)
    quality = ("precision", "recall", "f1", "count_accuracy", "count_accuracy_present")
    assert all(0 <= figures[name] <= 100 for name in quality)
    assert figures["passes_per_document"] >= 1
    assert figures["ms_per_document"] > 0


def test_baseline_shows_labels(call):
    """People get a line for every label and one for all, then what it took."""
    result = call("--limit", "1", "--policy", "multi")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["PER", "all"]
    assert lines[-1].startswith("onestep, policy multi: 1 documents, ")


def test_baseline_names_what_is_wrong(call, tmp_path):
    """An unknown label, and a folder that holds no baseline, are named."""
    result = call("--labels", "XYZ")
    assert result.exit_code == 1
    assert "has no label XYZ; it has PER" in result.stderr
    ours = write_tiny_checkpoint(tmp_path / "ours")
    result = call("--model", str(ours))
    assert result.exit_code == 1
    assert "baseline.json cannot be read" in result.stderr


def test_baseline_is_refused_where_models_are_served(call, tmp_path):
    """Other commands say what the folder holds, and what scores it."""
    result = CliRunner().invoke(main, ["extract", "Ann", "--model", str(tmp_path / "tiny")])
    assert result.exit_code == 1
    assert "holds a baseline (baseline.json)" in result.stderr
