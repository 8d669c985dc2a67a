"""The whole way from corpus to checkpoint, on a corpus made up by rule."""

import copy
import json

import pytest

from stream.errors import ConfigurationError
from tests.training.changes import changed
from tests.training.synthetic import recipe, write_data

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run: its recipe, trainer and evaluation."""
    from stream.training.trainer import Trainer

    folder = tmp_path_factory.mktemp("training")
    plan = recipe(write_data(folder / "data"), folder / "run", steps=400)
    trainer = Trainer(plan)
    return plan, trainer, trainer.run()


def metrics(plan) -> list[dict]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (plan.output / "metrics.jsonl").read_text().splitlines()]


def test_trainer_loss_falls(run):
    """Answers of a small regular corpus are learned within seconds."""
    answers = [line["answers"] for line in metrics(run[0]) if line["event"] == "step"]
    assert answers[-1] < answers[0] / 3


def test_trainer_reports_scores_of_the_whole_development_set(run):
    """The last line of the log is the development score that the run returns."""
    last = metrics(run[0])[-1]
    assert (last["event"], last["f1"]) == ("dev", 100 * run[2].score.f1)
    assert run[2].counts.share > 0.5


def test_trainer_checkpoint_gives_the_same_logits(run):
    """The exported folder loads in transformers, and its logits are the model's up to float16 weights."""
    import torch
    from transformers import AutoModelForCausalLM

    plan, trainer, _ = run
    loaded = AutoModelForCausalLM.from_pretrained(plan.output / "checkpoint", dtype=torch.float32).eval()
    ids = torch.tensor(
        [trainer.template.prefix_ids(trainer.template.encode_text("Ada met Alan in Oslo .").ids)]
    )
    rounded = copy.deepcopy(trainer.model.causal).eval()
    with torch.inference_mode():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.half().float())
        assert torch.allclose(loaded(input_ids=ids).logits, rounded(input_ids=ids).logits, atol=1e-4)


def test_trainer_checkpoint_holds_what_the_method_needs(run):
    """Template, tokenizer and NER configuration load from the exported folder alone."""
    from stream.ner.template import PromptTemplate

    folder = run[0].output / "checkpoint"
    template = PromptTemplate.load(folder)
    assert template.config == run[0].ner
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "ner_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert all(path.stat().st_mode & 0o044 for path in folder.iterdir())


def test_trainer_draws_its_log(run):
    """The run's losses and scores are drawn beside its log, and the same log gives the same picture."""
    from xml.etree import ElementTree as ET

    from stream.training.metrics import draw_curves

    drawn = run[0].output / "plot.svg"
    texts = [element.text for element in ET.parse(drawn).iter() if element.tag.endswith("text")]
    assert {"answers", "language_model", "tagging", "mention_index", "F1", "steps"} <= set(texts)
    draw_curves(metrics(run[0]), again := run[0].output / "again.svg")
    assert again.read_bytes() == drawn.read_bytes()


def test_trainer_resumed_run_goes_on_as_if_never_stopped(tmp_path):
    """Stopping half way and starting anew ends in the very same weights."""
    import torch

    from stream.training.trainer import Trainer

    data = write_data(tmp_path / "data")
    whole = Trainer(recipe(data, tmp_path / "whole", steps=10))
    first = Trainer(recipe(data, tmp_path / "parts", steps=10))
    for _ in range(3):
        first.train_step(first.sampler[first.step])
    first.save()
    second = Trainer(recipe(data, tmp_path / "parts", steps=10))
    for _ in range(3):
        second.train_step(second.sampler[second.step])
    for _ in range(6):
        whole.train_step(whole.sampler[whole.step])
    assert second.step == whole.step == 6
    for one, other in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_trainer_pretrains_when_it_runs(tmp_path):
    """Making a trainer trains nothing; a run begins with language modelling, from which its steps go on."""
    import torch
    from safetensors.torch import load_file

    from stream.training.trainer import Trainer

    stage = {"files": {"plain.txt.gz": 1}, "tokens": 320, "max_seq_len": 8, "batch_tokens": 16}
    plan = changed(
        recipe(write_data(tmp_path / "data"), tmp_path / "run", steps=1),
        pretraining=stage,
        training={"lr_schedule": [{"steps": 1, "learning_rate": 1e-9}], "ema_decay": 0.9},
    )
    trainer = Trainer(plan)
    assert not (plan.output / "pretrained").exists()
    trainer.run()
    pretrained = load_file(plan.output / "pretrained" / "model.safetensors")
    exported = load_file(plan.output / "checkpoint" / "model.safetensors")
    assert exported.keys() == pretrained.keys()
    for name, weight in exported.items():
        assert torch.allclose(weight, pretrained[name], atol=1e-5), name
    assert [line["event"] for line in metrics(plan)] == ["pretrained", "dev"]


def test_trainer_refuses_too_little_plain_text(tmp_path):
    """Texts that are shorter than two rows are refused with the option that cuts them."""
    from stream.training.trainer import Trainer

    stage = {"files": {"plain.txt.gz": 1}, "tokens": 320}
    plan = changed(recipe(write_data(tmp_path / "data"), tmp_path / "run"), pretraining=stage)
    with pytest.raises(ConfigurationError, match="fewer than two rows of max_seq_len = 512"):
        Trainer(plan).run()
