"""Runs that are killed, and runs that stop early."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stream.evaluation.scores import Score
from tests.training.changes import changed
from tests.training.recipe_file import write_recipe
from tests.training.synthetic import recipe, write_data

pytestmark = pytest.mark.train

ROOT = Path(__file__).parents[2]
OPTIONS = (
    "export_steps=40",
    "training.ema_decay=0.9",
    'training.optimizer="muon"',
    'pretraining.files={"plain.txt.gz"=1}',
    "pretraining.tokens=320",
    "pretraining.max_seq_len=8",
    "pretraining.batch_tokens=16",
)


def started(file: Path, output: Path, *changes: str) -> subprocess.Popen:
    """`padellm train` in a process group of its own, which takes Ctrl-C even where these tests ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    options = [part for option in (*OPTIONS, *changes) for part in ("--set", option)]
    command = [sys.executable, "-m", "stream.cli", "train", str(file), "--output", str(output), *options]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)


def killed_when_there(file: Path, output: Path, sign: Path) -> None:
    """Start the run, and send it SIGKILL as soon as a file is there."""
    run = started(file, output)
    wait_for(run, sign.exists)
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL


def wait_for(run: subprocess.Popen, condition: Callable[[], bool]) -> None:
    """Wait until a run has come to where a condition holds."""
    deadline = time.monotonic() + 120
    while not condition():
        assert run.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def finished(file: Path, output: Path) -> None:
    """Let the run end."""
    assert started(file, output).wait(timeout=240) == 0


def events(output: Path) -> list[dict]:
    """The run's log, but for means over steps, and the time that things took."""
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    kept = [line for line in lines if line["event"] != "step"]
    return [{name: value for name, value in line.items() if name != "minutes"} for line in kept]


def test_resume_after_kills_gives_the_same_weights(tmp_path):
    """A run killed after pre-training and again in mid-flight ends in the very weights of one left alone."""
    import torch

    data = write_data(tmp_path / "data")
    file = write_recipe(tmp_path / "recipe.toml", data, tmp_path / "none", steps=200)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    finished(file, whole)
    killed_when_there(file, parts, parts / "pretrained" / "config.json")
    killed_when_there(file, parts, parts / "state.pt")
    assert 0 < steps_done(parts) < 200
    finished(file, parts)
    one, other = (torch.load(run / "state.pt", weights_only=True) for run in (whole, parts))
    assert one["counters"][0] == other["counters"][0] == 200
    for name in ("model", "average"):
        assert one[name].keys() == other[name].keys()
        assert all(torch.equal(value, other[name][key]) for key, value in one[name].items())
    weights = [run / "checkpoint" / "model.safetensors" for run in (whole, parts)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert events(whole) == events(parts)
    assert not list(parts.glob(".*"))


@pytest.mark.parametrize("death", [signal.SIGTERM, signal.SIGINT])
def test_resume_a_stopped_run_loses_no_step(tmp_path, death):
    """A run that is asked to stop saves the step that it is at, which may be long after the last export."""
    data = write_data(tmp_path / "data")
    file = write_recipe(tmp_path / "recipe.toml", data, tmp_path / "none", steps=100_000)
    run = started(file, tmp_path / "run", "export_steps=50000")
    log = tmp_path / "run" / "metrics.jsonl"
    wait_for(run, lambda: log.exists() and '"event": "step"' in log.read_text())
    assert not (tmp_path / "run" / "state.pt").exists()
    os.kill(run.pid, death)
    assert run.wait(timeout=60) != 0
    assert steps_done(tmp_path / "run") >= 100


def steps_done(output: Path) -> int:
    """Steps of the state that a run would resume from."""
    import torch

    return torch.load(output / "state.pt", weights_only=True)["counters"][0]


def test_resume_forgets_what_a_run_without_a_state_logged(tmp_path):
    """After a run that was killed before its first export, half a line of it too, the log begins anew."""
    from stream.training.trainer import Trainer

    plan = changed(recipe(write_data(tmp_path / "data"), tmp_path / "run", steps=100), export_steps=50)
    plan.output.mkdir()
    log = plan.output / "metrics.jsonl"
    log.write_text('{"step": 100, "event": "step", "answers": 9.9}\n{"step": 200, "eve', encoding="utf-8")
    Trainer(plan).run()
    lines = [(line["step"], line["event"]) for line in map(json.loads, log.read_text().splitlines())]
    assert lines == [(50, "sample"), (100, "step"), (100, "dev")]


@pytest.mark.parametrize("death", [signal.SIGTERM, signal.SIGKILL])
def test_resume_a_dead_run_leaves_no_worker_behind(tmp_path, death):
    """The processes that draw batches end soon after the run, whatever ended it."""
    data = write_data(tmp_path / "data")
    file = write_recipe(tmp_path / "recipe.toml", data, tmp_path / "none", steps=100_000)
    run = started(file, tmp_path / "run", "export_steps=50000", "workers=2")
    log = tmp_path / "run" / "metrics.jsonl"
    wait_for(run, lambda: log.exists() and '"event": "step"' in log.read_text())
    workers = psutil.Process(run.pid).children(recursive=True)
    assert len(workers) == 2
    os.kill(run.pid, death)
    assert run.wait() == -death
    _, left = psutil.wait_procs(workers, timeout=20)
    for worker in left:
        worker.kill()
    assert not left


def test_resume_stops_early_and_keeps_the_best(tmp_path):
    """When later exports are worse, the run stops after its patience, and its checkpoint is the best one."""
    from stream.training.trainer import Trainer

    # The second cycle's rate destroys what the first one learned.
    rates = [{"steps": 300, "learning_rate": 2e-3}, {"steps": 3000, "learning_rate": 2.0}]
    plan = changed(
        recipe(write_data(tmp_path / "data"), tmp_path / "run"),
        training={"lr_schedule": rates},
        export_steps=100,
        patience=2,
        dev_sample=100,
    )
    trainer = Trainer(plan)
    scores = trainer.run().by_label
    sampled = [(line["step"], line["f1"]) for line in events(plan.output) if line["event"] == "sample"]
    best = max(f1 for _, f1 in sampled)
    assert best > 50
    assert 100 * sum(scores.values(), Score()).f1 == pytest.approx(best)
    assert sampled[-1][1] < best
    assert trainer.step == sampled[-1][0] == 100 * ([f1 for _, f1 in sampled].index(best) + 1 + 2)
    assert {path.name for path in plan.output.iterdir()} == {
        "checkpoint",
        "metrics.jsonl",
        "plot.svg",
        "state.pt",
        "tokenizer.json",
    }
    again = Trainer(plan)
    assert again.run().by_label == scores
    assert again.step == trainer.step


def test_resume_patience_needs_exports_counted_in_steps(tmp_path):
    """Patience in minutes would make a run's result depend on the machine's speed."""
    with pytest.raises(ValueError, match="`export_steps` must be set"):
        changed(recipe(tmp_path, tmp_path), patience=2)
