"""A batch read in shares: one after another, and by several processes at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stream.local.ports import free_ports
from stream.training.packing import IGNORED, LOSSES, count_targets, pack, split
from tests.training.changes import changed
from tests.training.recipe_file import write_recipe
from tests.training.synthetic import recipe, reformulator, sentence, write_data

ROOT = Path(__file__).parents[2]
TREES = [
    reformulator().tree(each, ("person", "location"))
    for each in (
        sentence("Ada met Alan in Oslo .", ("Ada", "person"), ("Alan", "person"), ("Oslo", "location")),
        sentence("Nobody was there ."),
        sentence("Paris is large .", ("Paris", "location")),
    )
]
STEPS = 100


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_processes_shares_hold_every_target_once(parts):
    """Shares of a batch have its targets, each once; one that no row is left for has none."""
    batch = pack(TREES * 2, 32)
    shares = split(batch, parts)
    assert len(shares) == parts
    assert all(len(share.ids) for share in shares)
    for loss, field in LOSSES.items():
        whole = targets_of(batch, field)
        assert sum(count_targets(share)[loss] for share in shares) == len(whole)
        assert sorted(n for share in shares for n in targets_of(share, field)) == sorted(whole)


def targets_of(batch, field):
    """The targets of one loss."""
    values = getattr(batch, field)
    return values[values != IGNORED]


@pytest.mark.train
@pytest.mark.parametrize(
    "options",
    [
        {"gradient_accumulation": 3},
        {"gradient_accumulation": 50},
        {"gradient_accumulation": 2, "gradient_checkpointing": True},
    ],
)
def test_processes_gradients_of_shares_add_up(tmp_path, options):
    """Accumulation and checkpointing change neither losses nor gradients, also with more shares than rows."""
    import torch

    from stream.training.trainer import Trainer

    data = write_data(tmp_path / "data")
    plan = changed(recipe(data, tmp_path / "run"), model={"dropout": 0.0})
    whole, shared = Trainer(plan), Trainer(changed(plan, training=options))
    for step in range(3):
        one, other = (trainer.train_step(trainer.sampler[step]) for trainer in (whole, shared))
        assert {name: float(part) for name, part in other.items()} == pytest.approx(
            {name: float(part) for name, part in one.items()}, rel=1e-4
        )
        for first, second in zip(whole.model.parameters(), shared.model.parameters(), strict=True):
            assert torch.allclose(first.grad, second.grad, atol=1e-5)


@pytest.mark.train
def test_processes_dropout_goes_through_checkpointing(tmp_path):
    """What is computed again for the gradient drops what was dropped the first time."""
    import torch

    from stream.training.trainer import Trainer

    data = write_data(tmp_path / "data")
    plan = changed(recipe(data, tmp_path / "run"), model={"dropout": 0.3})
    trainers = [Trainer(plan), Trainer(changed(plan, training={"gradient_checkpointing": True}))]
    for trainer in trainers:
        trainer.train_step(trainer.sampler[0])
    for one, other in zip(*(trainer.model.parameters() for trainer in trainers), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the runs are, with their data."""
    folder = tmp_path_factory.mktemp("processes")
    write_recipe(folder / "recipe.toml", write_data(folder / "data"), folder / "run", STEPS)
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    """The same recipe by one process, by two with a copy each, and by two with a part each."""
    return {
        "one": finished(train(folder, "one")),
        "copies": finished([*two_processes(), *train(folder, "copies")]),
        "sharded": finished([*two_processes(), *train(folder, "sharded", "sharded=true")]),
    }


def train(folder, output, *changes):
    """The command, without what runs it."""
    exact = ("model.dropout=0.0", "training.ema_decay=0.9", 'export_weights="float32"', *changes)
    options = [part for change in exact for part in ("--set", change)]
    recipe, output = str(folder / "recipe.toml"), str(folder / output)
    return ["-m", "stream.cli", "train", recipe, "--output", output, *options, "--json"]


def two_processes():
    """What runs a module in two processes."""
    (port,) = free_ports(1)
    settled = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    return [*launcher, *settled, "--main_process_port", str(port)]


def finished(command):
    """What a training command printed as JSON, and its output folder."""
    for _ in range(2):  # gloo may abort a process; the same command goes on, as docs/training.md has it
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},  # an abort in foreign code then shows its stack
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    return printed, Path(printed["checkpoint"]).parent


@pytest.mark.train
@pytest.mark.parametrize("name", ["copies", "sharded"])
def test_processes_two_train_as_one(runs, name):
    """Two processes on a batch give the losses, averaged weights and scores of one on the same batch."""
    from safetensors.torch import load_file

    (one, folder), (two, other) = runs["one"], runs[name]
    (losses,), (shared,) = map(step_lines, (folder, other))
    assert losses["step"] == STEPS
    for loss in LOSSES:
        assert shared[loss] == pytest.approx(losses[loss], abs=2e-3)
    assert shared["documents"] == losses["documents"]
    weights, shared_weights = (load_file(f / "checkpoint" / "model.safetensors") for f in (folder, other))
    assert weights.keys() == shared_weights.keys()
    for key, weight in weights.items():
        assert (shared_weights[key] - weight).abs().max() < 1e-4, key
    assert two["f1"] == pytest.approx(one["f1"], abs=1.0)


def step_lines(folder):
    """The lines of a run's log that hold losses."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == "step"]


@pytest.mark.train
def test_processes_killed_together_go_on_together(runs, folder):
    """Two processes with parts of the weights are killed, and end in the weights of a run left alone."""
    command = [*two_processes(), *train(folder, "killed", "sharded=true", "export_steps=20")]
    run = started(command)
    wait_for(folder / "killed" / "state.pt", run)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert 0 < steps_done(folder / "killed") < STEPS
    finished(command)
    assert_equal_weights(folder / "killed", runs["sharded"])


@pytest.mark.train
def test_processes_one_killed_ends_the_run_and_the_same_command_goes_on(runs, folder):
    """One of two processes is killed: the other ends too, and the same command ends as a run left alone."""
    command = train(folder, "restarted", "export_steps=20")
    run = started([*two_processes(), *command])
    wait_for(folder / "restarted" / "state.pt", run)
    ranks = [child for child in psutil.Process(run.pid).children() if "stream.cli" in child.cmdline()]
    ranks[1].kill()
    assert run.wait(120) != 0
    assert 0 < steps_done(folder / "restarted") < STEPS
    finished([*two_processes(), *command])
    assert_equal_weights(folder / "restarted", runs["copies"])


def started(command):
    """A training command that runs in a session of its own."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, start_new_session=True, **pipes)


def wait_for(file, run):
    """Return once a run has written a file."""
    deadline = time.monotonic() + 240
    while not (file.exists() and file.stat().st_size):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)  # a file of other processes: it can only be looked for


def steps_done(output):
    """Steps of the state that a run would resume from."""
    import torch

    return torch.load(output / "state.pt", weights_only=True)["counters"][0]


def assert_equal_weights(output, run):
    """A run's weights are those of another run."""
    from safetensors.torch import load_file

    _, alone = run
    weights, others = (load_file(each / "checkpoint" / "model.safetensors") for each in (alone, output))
    for key, weight in weights.items():
        assert (others[key] - weight).abs().max() < 1e-6, key


@pytest.mark.train
def test_processes_end_with_their_launcher(folder):
    """When `accelerate launch` is killed, the processes that it started end soon after it."""
    command = [*two_processes(), *train(folder, "orphaned", "training.lr_schedule.0.steps=100000")]
    run = started(command)
    wait_for(folder / "orphaned" / "metrics.jsonl", run)
    ranks = psutil.Process(run.pid).children(recursive=True)
    assert len(ranks) >= 2
    run.kill()
    run.wait()
    _, left = psutil.wait_procs(ranks, timeout=20)
    for rank in left:
        rank.kill()
    assert not left
