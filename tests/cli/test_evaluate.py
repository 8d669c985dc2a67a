"""``padellm evaluate``."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.baselines.config import Baseline
from stream.bundled import model_folder
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
    for name in ("exact", "partial", "type"):
        assert set(summary[name]) == {"precision", "recall", "f1"}
    assert set(summary["latency_ms"]) == {"mean", "p50", "p95"}
    assert set(summary["labels"]) == {"PER"}
    assert 0 <= summary["ece"] <= 1
    assert not {"policies", "wrong_counts", "calibration"} & set(summary)
    assert (summary["format"], summary["policy"]) == ("padellm", "paper")


def test_evaluate_shows_labels(model, data):
    """People get a line for every label and one for all."""
    result = CliRunner().invoke(main, ["evaluate", "--data", data, "--model", model])
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()[:3]] == ["Label", "PER", "all"]


def test_evaluate_shows_any_label_as_it_is(model, tmp_path):
    """Brackets in a label are text on a terminal too, and control characters do not reach it."""
    file = tmp_path / "data.jsonl"
    entity = {"start": 0, "end": 3, "text": "Ann", "label": "[/red]\x1b[2J"}
    file.write_text(json.dumps({"text": "Ann", "entities": [entity]}))
    result = CliRunner().invoke(main, ["evaluate", "--data", str(file), "--model", model])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].split()[0] == "[/red]\ufffd[2J"


@pytest.mark.parametrize("options", [["--labels", "XYZ"], ["--data", "/none.jsonl"]])
def test_evaluate_says_what_is_wrong(model, data, options):
    """An unknown label or missing file is named in one line, with exit status 1."""
    result = CliRunner().invoke(main, ["evaluate", "--data", data, "--model", model, *options])
    assert result.exit_code == 1
    assert options[1] in result.stderr


def test_evaluate_reports(model, data, tmp_path):
    """--report writes both files and prints the figures of all policies and of wrong counts."""
    folder = tmp_path / "report"
    result = CliRunner().invoke(
        main, ["evaluate", "--data", data, "--model", model, "--report", str(folder), "--json"]
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert set(summary["policies"]) == {"none", "paper", "flat", "nested", "multi"}
    assert {each["counts"] for each in summary["wrong_counts"]} == {
        "own",
        "under",
        "over",
        "invented",
        "gold",
    }
    whole = json.loads((folder / "report.json").read_text())
    assert whole["about"]["data"] == data
    assert {name: whole[name] for name in summary} == summary
    assert "data:image/svg+xml" in (folder / "report.html").read_text()


def test_evaluate_calibrates_a_model(tmp_path):
    """--calibrate stores Platt scaling in the model folder, and scores of the model then have less error."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder(None), folder)
    data, names = tmp_path / "data.jsonl", ["Anna Berg", "Paul Smith", "Rosa Diaz", "Omar Khan", "Li Wei"]
    lines = []
    for number in range(240):
        # Every third name is annotated as something else, so that sure scores are too sure.
        person, label = names[number % 5], "LOC" if number % 3 == 0 else "PER"
        entity = {"start": 0, "end": len(person), "text": person, "label": label}
        lines.append({"text": f"{person} spoke to reporters on day {number} .", "entities": [entity]})
    data.write_text("\n".join(map(json.dumps, lines)))
    command = ["evaluate", "--data", str(data), "--model", str(folder), "--json"]
    result = CliRunner().invoke(main, [*command, "--calibrate"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])["calibration"]
    assert found["ece_after"] < found["ece_before"]
    stored = json.loads((folder / "ner_config.json").read_text())["calibration"]
    assert stored == found["temperatures"]
    assert set(stored["labels"]) <= {"person", "location"}
    again = json.loads(CliRunner().invoke(main, command).stdout.splitlines()[-1])
    assert again["ece"] < found["ece_before"]


def test_evaluate_scores_predictions(data, tmp_path):
    """--predictions takes the place of a model; those under unknown labels are wrong, unless left out."""
    file = tmp_path / "predictions.jsonl"
    found = [{"label": "PER", "text": "Ann", "score": 0.9}, {"label": "ORG", "text": "Ann", "score": 0.8}]
    file.write_text("\n".join(json.dumps({"id": str(n), "entities": found}) for n in (1, 2)))
    command = ["evaluate", "--data", data, "--predictions", str(file), "--json"]
    summary = json.loads(CliRunner().invoke(main, command).stdout)
    assert summary["documents"] == 3
    assert summary["documents_without_predictions"] == 1
    assert (summary["f1"], set(summary["labels"])) == (100.0, {"PER", "ORG"})
    assert "passes_per_document" not in summary
    multi = json.loads(CliRunner().invoke(main, [*command, "--policy", "multi"]).stdout)
    assert (multi["precision"], multi["recall"]) == (50.0, 100.0)
    one = json.loads(CliRunner().invoke(main, [*command, "--policy", "multi", "--labels", "PER"]).stdout)
    assert one["precision"] == 100.0


def test_evaluate_predictions_are_no_model(model, data):
    """Options that calibrate or name a model are refused beside predictions."""
    for options in (["--model", model], ["--calibrate"]):
        result = CliRunner().invoke(main, ["evaluate", "--data", data, "--predictions", data, *options])
        assert result.exit_code == 1
        assert "--predictions takes the place of a model" in result.stderr


def test_evaluate_needs_mentions_to_calibrate(model, data):
    """Too little data is refused, and the model folder stays as it was."""
    before = (Path(model) / "ner_config.json").read_text()
    result = CliRunner().invoke(main, ["evaluate", "--data", data, "--model", model, "--calibrate"])
    assert result.exit_code == 1
    assert "are needed" in " ".join(result.stderr.split())
    assert (Path(model) / "ner_config.json").read_text() == before


@pytest.mark.parametrize("setting", [None, "padellm-small-zh"])
def test_evaluate_calibrates_no_model_that_it_was_not_told_to(data, monkeypatch, setting):
    """--calibrate without --model is refused, and the model that would be taken stays as it was."""
    if setting:
        monkeypatch.setenv("PADELLM_MODEL", setting)
    file = model_folder(Path(setting) if setting else None) / "ner_config.json"
    before = file.read_bytes()
    result = CliRunner().invoke(main, ["evaluate", "--data", data, "--calibrate"])
    assert result.exit_code == 1
    assert "name that folder with --model" in result.stderr
    assert file.read_bytes() == before


def test_evaluate_takes_labels_as_json(model, tmp_path):
    """A label with a comma in it can be named in a JSON list, as for `padellm extract`."""
    file = tmp_path / "data.jsonl"
    entity = {"start": 0, "end": 3, "text": "Ann", "label": "PER, living"}
    file.write_text(json.dumps({"text": "Ann", "entities": [entity]}))
    options = ["--data", str(file), "--model", model, "--labels", '["PER, living"]', "--json"]
    result = CliRunner().invoke(main, ["evaluate", *options])
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["labels"]) == {"PER, living"}


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_evaluate_names_the_extra_of_a_report(model, data, tmp_path, monkeypatch, package):
    """A report without its libraries is refused before any decoding, with the command that brings them."""
    for name in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("charts", "report_page"):
        monkeypatch.delitem(sys.modules, f"stream.evaluation.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    folder = tmp_path / "report"
    result = CliRunner().invoke(main, ["evaluate", "--data", data, "--model", model, "--report", str(folder)])
    assert result.exit_code == 1
    assert f"needs {package}" in result.stderr
    assert "pip install 'padellm-stream[report]'" in result.stderr
    assert not folder.exists()


def test_evaluate_scores_a_baseline(data, tmp_path):
    """A baseline's folder is scored like a model's, with its format and the usual policy of that."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", baseline=Baseline.AUTOREG_STRUCT)
    command = ["evaluate", "--data", data, "--model", str(folder), "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["format"], found["policy"], found["documents"]) == ("autoreg_struct", "multi", 3)
    assert found["passes_per_document"] >= 1
    assert json.loads(CliRunner().invoke(main, [*command, "--policy", "flat"]).stdout)["policy"] == "flat"


def test_evaluate_is_what_a_refused_baseline_names(tmp_path):
    """Commands that serve models refuse a baseline, and name the command that scores it."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", baseline=Baseline.ONESTEP)
    result = CliRunner().invoke(main, ["extract", "Ann", "--model", str(folder)])
    assert result.exit_code == 1
    assert f"`padellm evaluate --model {folder}`" in result.stderr
