"""The score of a run is that of the checkpoint it exports, as it is served."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli import main
from stream.generation import Prompt
from tests.plain_greedy import plain_greedy
from tests.training.synthetic import recipe, write_data

pytestmark = pytest.mark.train


@pytest.fixture(scope="module", params=[140, 250])
def plan(request, tmp_path_factory):
    """The recipe of a finished run, by which little is learned, or much."""
    from stream.training.trainer import Trainer

    folder = tmp_path_factory.mktemp("scoring")
    plan = recipe(write_data(folder / "data", dev=40), folder / "run", steps=request.param)
    Trainer(plan).run()
    return plan


def test_scoring_logs_what_padellm_evaluate_prints(plan):
    """The last score in a run's log is that of `padellm evaluate` on its checkpoint and development set."""
    logged = json.loads((plan.output / "metrics.jsonl").read_text().splitlines()[-1])
    data = plan.data / "ner" / "names" / "dev.jsonl.gz"
    command = ["evaluate", "--model", str(plan.output / "checkpoint"), "--data", str(data), "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    for name in ("f1", "precision", "recall", "count_accuracy", "count_accuracy_present"):
        assert logged[name] == pytest.approx(printed[name], abs=0.01), name


def test_scoring_by_torch_equals_the_engines(plan, monkeypatch):
    """A model that the engine refuses is decoded by torch, with the answers that the engine gives."""
    import torch

    from stream.training import scoring

    def score():
        scored = scoring.score_checkpoint(plan.output / "checkpoint", plan, torch.device("cpu"))
        return scored.by_label, scored.counts, scored.removed, [one.score for one in scored.judged]

    labels, counts, removed, probabilities = score()
    monkeypatch.setattr(scoring, "engine_refusal", lambda _: "refused")
    monkeypatch.setattr(scoring, "InProcessGenerator", None)
    assert score()[:3] == (labels, counts, removed)
    assert score()[3] == pytest.approx(probabilities, abs=1e-4)


def test_scoring_continuations_equal_those_of_transformers(plan):
    """Batched continuation without a cache writes what ``generate`` writes for each prompt alone."""
    import torch

    from stream.ner.template import PromptTemplate
    from stream.training.scoring import TorchGenerator, continue_greedily

    folder = plan.output / "checkpoint"
    template = PromptTemplate.load(folder)
    ids = [template.encode_text(text).ids for text in ("Ada met Alan in Oslo .", "Paris", "Ada won ,")]
    alone = list(plain_greedy(folder, [Prompt(each, 6, template.end_id) for each in ids]))
    stop = tuple(one.ids[-1] for one in alone if one.ids)[:1]
    prompts = [Prompt(each, most, template.end_id, stop) for each in ids for most in (1, 6)]
    model = TorchGenerator.load(folder, torch.device("cpu"))._model
    for mine, theirs in zip(continue_greedily(model, prompts), plain_greedy(folder, prompts), strict=True):
        assert mine.ids == theirs.ids
        assert mine.log_probs == pytest.approx(theirs.log_probs, abs=1e-4)
