"""The baselines on their whole way from corpus to score, on a corpus made up by rule."""

import pytest

from stream.baselines.config import Baseline, BaselineConfig
from tests.training.synthetic import recipe, write_data

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The made-up corpora."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("baseline", Baseline)
def test_baselines_learn_a_small_corpus(data, tmp_path, baseline):
    """The same trainer teaches every format, and the exported checkpoint finds what it was taught."""
    from stream.training.scoring import figures
    from stream.training.trainer import Trainer

    plan = recipe(data, tmp_path / "run", steps=600).model_copy(update={"format": baseline})
    scores = figures(Trainer(plan).run())
    assert scores["f1"] > 40
    assert scores["count_accuracy_present"] > 90
    config = BaselineConfig.load(plan.output / "checkpoint")
    assert config == BaselineConfig(format=baseline, ner=plan.ner)
    assert not (plan.output / "checkpoint" / "ner_config.json").exists()


def test_baselines_can_start_from_another_formats_checkpoint(data, tmp_path):
    """The marks that a tokenizer lacks are added to it, and all that was learned is kept."""
    import torch

    from stream.training.trainer import Trainer

    first = Trainer(recipe(data, tmp_path / "first"))
    first.save()
    plan = recipe(data, tmp_path / "second").model_copy(
        update={"format": Baseline.AUTOREG_STRUCT, "init_from": tmp_path / "first" / "checkpoint"}
    )
    second = Trainer(plan)
    kept = first.model.causal.get_input_embeddings().weight
    grown = second.model.causal.get_input_embeddings().weight
    assert len(grown) == len(kept) + 4 == second.tokenizer.size
    assert torch.allclose(grown[: len(kept)].cpu(), kept.cpu(), atol=1e-3)
    assert second.model.causal.lm_head.weight is grown
