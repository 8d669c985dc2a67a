"""``padellm evaluate``."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli import main
from tests.tiny_model import write_tiny_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny checkpoint's folder."""
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def data(tmp_path):
    """Three annotated documents."""
    file = tmp_path / "data.jsonl"
    entity = {"start": 0, "end": 3, "text": "Ann", "label": "PER"}
    lines = [{"id": str(n), "text": f"Ann {n}", "entities": [entity] if n else []} for n in range(3)]
    file.write_text("\n".join(map(json.dumps, lines)))
    return str(file)


def test_evaluate_prints_one_json_object(model, data):
    """With --json the last line holds the documented figures, those of quality in percent."""
    result = CliRunner().invoke(
        main, ["evaluate", "--data", data, "--model", model, "--limit", "2", "--json"]
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["documents"] == 2
    for name in ("precision", "recall", "f1", "count_accuracy"):
        assert 0 <= summary[name] <= 100
    assert summary["passes_per_document"] >= 1
    assert summary["ms_per_document"] > 0


def test_evaluate_shows_labels(model, data):
    """People get a line for every label and one for all."""
    result = CliRunner().invoke(main, ["evaluate", "--data", data, "--model", model])
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()[:3]] == ["Label", "PER", "all"]


@pytest.mark.parametrize("options", [["--labels", "XYZ"], ["--data", "/none.jsonl"]])
def test_evaluate_says_what_is_wrong(model, data, options):
    """An unknown label or missing file is named in one line, with exit status 1."""
    result = CliRunner().invoke(main, ["evaluate", "--data", data, "--model", model, *options])
    assert result.exit_code == 1
    assert options[1] in result.stderr
