"""``padellm bench``."""

import json
import re
import sys

import pytest
from typer.testing import CliRunner

from stream.bench.strategies import NAMES
from stream.cli import main
from tests.tiny_model import write_tiny_checkpoint

LINES = [
    {"text": "Ann met Bo.", "entities": [{"start": 0, "end": 3, "text": "Ann", "label": "PER"}]},
    {"text": "Rome is far.", "entities": [{"start": 0, "end": 4, "text": "Rome", "label": "LOC"}]},
    {"text": "It rained.", "entities": []},
]
FIGURES = {"passes_mean", "passes_p95", "ms_mean", "ms_p50", "ms_p95", "documents_per_second"}
LOSSY = {"lossless", "agreement", "f1", "f1_greedy"}


@pytest.fixture
def call(tmp_path):
    """Runs ``padellm bench`` on a tiny model and three documents."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    data = tmp_path / "dev.jsonl"
    data.write_text("\n".join(map(json.dumps, LINES)))

    def run(command, *options):
        arguments = ["bench", command, "--data", str(data), "--model", str(folder), *options]
        return CliRunner().invoke(main, arguments)

    return run


def last_line(result):
    """The last line, parsed as JSON."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_bench_decode_prints_every_strategy_with_its_figures(call):
    """The last line is one object: the floor, and the same figures for all strategies."""
    found = last_line(call("decode", "--limit", "2", "--at-once", "2", "--json"))
    assert found["floor_ms"] > 0
    assert set(found["strategies"]) == set(NAMES)
    for name, figures in found["strategies"].items():
        assert set(figures) - {"gold"} == FIGURES | (LOSSY if name == "lud" else set())
        assert set(figures["documents_per_second"]) == {"1", "8", "32", "128"}


def test_bench_decode_draws_its_charts(call, tmp_path):
    """Passes, milliseconds and documents a second, each with a bar for every strategy."""
    folder = tmp_path / "charts" / "new"
    options = ("--strategy", "padellm", "--limit", "2", "--at-once", "2")
    assert call("decode", *options, "--svg", str(folder)).exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "decode-ms.svg",
        "decode-passes.svg",
        "decode-rate.svg",
    ]
    for path in folder.iterdir():
        assert {"floor", "padellm", "padellm, gold"} <= set(re.findall(r">([^<>]+)</text>", path.read_text()))
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in call("decode", *options, "--svg", str(tmp_path / "file" / "x")).stderr


@pytest.mark.parametrize("command", ["decode", "growth"])
def test_bench_names_the_extra_of_charts(call, tmp_path, monkeypatch, command):
    """Charts without matplotlib are refused before anything is measured, with the command that brings it."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("stream.bench.charts", "stream.evaluation.charts"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = call(command, "--svg", str(tmp_path / "charts"))
    assert result.exit_code == 1
    assert "pip install 'padellm-stream[report]'" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "charts").exists()


def test_bench_decode_runs_only_the_strategies_asked_for(call):
    """A selection limits what is run; with --forced it answers gold, under its own name."""
    options = ("--limit", "2", "--at-once", "2", "--forced", "--json")
    found = last_line(call("decode", "--strategy", "padellm", "--strategy", "onestep", *options))
    assert set(found["strategies"]) == {"padellm", "onestep"}
    assert set(found["strategies"]["padellm"]) == FIGURES


def test_bench_decode_compares_what_is_not_lossless_with_greedy_decoding(call):
    """Greedy decoding is measured with it, asked for or not; with --forced there is nothing to compare."""
    options = ("--strategy", "lud", "--limit", "2", "--at-once", "2", "--json")
    found = last_line(call("decode", *options))
    assert set(found["strategies"]) == {"lud", "padellm_no_drafts"}
    assert 0 <= found["strategies"]["lud"]["agreement"] <= 100
    assert "leave --forced away" in call("decode", "--forced", *options).stderr


def test_bench_decode_names_the_strategies_when_one_is_unknown(call):
    """A wrong name is answered with the right ones."""
    result = call("decode", "--strategy", "magic")
    assert result.exit_code == 1
    assert "magic" in result.stderr
    assert "gauss_seidel" in result.stderr


def test_bench_models_prints_the_cost_of_both_precisions(tmp_path):
    """Each model has a time, a rate and a memory in float32 and in 8-bit integers."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    arguments = ["bench", "models", "--model", str(folder), "--limit", "2", "--json"]
    found = last_line(CliRunner().invoke(main, arguments))
    assert [each["products"] for each in found] == ["float32", "int8"]
    assert all(each["ms"] > 0 and each["documents_per_second"] > 0 for each in found)
    assert all(each["memory_mb"] > 20 for each in found)


def test_bench_drift_prints_its_figures(call):
    """Tables for people, and one object with mentions, answers where there are none, and changes."""
    found = last_line(call("drift", "--limit", "2", "--json"))
    assert found["documents"] == 2
    assert found["changes"]["as they are"]["documents_changed"] == 0
    assert {"spaces doubled", "upper case", "labels in reverse order"} <= set(found["changes"])
    assert {"prose", "code", "languages", "forms"} <= set(found["texts_answered"])
    assert found["mentions"]["as they are"]["published_foreign"] == 0


@pytest.mark.parametrize("rates", ["fast", "5,0", "-1", "inf", "nan"])
def test_bench_serve_explains_rates(rates):
    """What is no list of rates is refused before anything starts, with an example."""
    result = CliRunner().invoke(main, ["bench", "serve", "--rates", rates])
    assert result.exit_code == 2
    assert "--rates" in result.stderr
    assert "5,10,20" in result.stderr


def test_bench_serve_draws_rates_alone(tmp_path):
    """A chart without rates is refused before anything starts, and no folder is made."""
    result = CliRunner().invoke(main, ["bench", "serve", "--svg", str(tmp_path / "charts")])
    assert result.exit_code == 2
    assert "give --rates" in result.stderr
    assert not (tmp_path / "charts").exists()
