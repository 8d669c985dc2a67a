"""Trees against separate sequences: the same losses, for fewer tokens and less time."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli import main
from stream.training.packing import LOSSES
from tests.training.changes import changed
from tests.training.recipe_file import write_recipe
from tests.training.synthetic import recipe, write_data

pytestmark = pytest.mark.train


def test_cost_both_ways_have_the_same_losses_and_gradients(tmp_path):
    """What is compared is the same step: losses of answers, text, tags and ordinals, and every gradient."""
    import torch

    from stream.training.cost import pack_apart
    from stream.training.packing import pack
    from stream.training.trainer import Trainer

    plan = changed(recipe(write_data(tmp_path / "data"), tmp_path / "run"), model={"dropout": 0.0})
    one, other = Trainer(plan), Trainer(plan)
    trees = [
        one.sampler.reformulator.tree(sentence, sentence.inventory)
        for sentence in one.sampler.main.sentences[:9]
    ]
    together, apart = pack(trees, 144), pack_apart(trees, 144)
    assert apart.ids.size > 1.5 * together.ids.size
    parts, separate = one.train_step(together), other.train_step(apart)
    for loss in LOSSES:
        assert float(separate[loss]) == pytest.approx(float(parts[loss]), rel=1e-5)
    for first, second in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(first.grad, second.grad, atol=1e-6)


def test_cost_is_measured_on_the_command_line(tmp_path):
    """`padellm train RECIPE --cost N` tells tokens and seconds of both ways, and leaves no run behind."""
    data = write_data(tmp_path / "data")
    file = write_recipe(tmp_path / "recipe.toml", data, tmp_path / "run", steps=10)
    command = ["train", str(file), "--cost", "40"]
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 0, result.output
    costs = json.loads(result.stdout.splitlines()[-1])
    assert (costs["documents"], costs["epoch"], costs["corpus"]) == (40, 50, "names")
    assert costs["times_fewer_tokens"] > 1.5
    for way in ("trees", "separate"):
        assert costs[way]["padded_tokens"] >= costs[way]["tokens"] > 0
        assert costs[way]["seconds"] > 0
    assert not (tmp_path / "run").exists()
    shown = CliRunner().invoke(main, command)
    assert "names: 50 documents an epoch, 40 measured" in shown.stdout
    assert "times fewer tokens" in shown.stdout
