"""What a training step sees."""

import numpy as np
import pytest

from stream.ner.config import LabelConfig
from stream.training.corpora import load_corpus, plain_paragraphs
from stream.training.packing import IGNORED
from stream.training.reformulation import Reformulator
from stream.training.sampler import Sampler, TrainingData
from tests.training.synthetic import recipe, template, write_data


@pytest.fixture
def sampler(tmp_path):
    """A sampler over the made-up corpus."""
    plan = recipe(write_data(tmp_path), tmp_path / "run")
    corpora = tuple(load_corpus(plan.data, config) for config in plan.corpora)
    data = TrainingData(corpora, plain_paragraphs(plan.data, plan.plain))
    return Sampler(plan, data, Reformulator(template(), ("person", "location")))


def test_sampler_step_decides_the_batch(sampler):
    """The same step gives the same batch at any time, another step another one."""
    first, again, other = sampler[30], sampler[30], sampler[31]
    assert np.array_equal(first.ids, again.ids)
    assert np.array_equal(first.next_tokens, again.next_tokens)
    assert not np.array_equal(first.ids, other.ids)


def test_sampler_stages_follow_progress(sampler):
    """Each stage lasts to its end, the last to the end of the run."""
    assert [sampler.stage(p).until for p in (0.0, 0.09, 0.1, 1.0)] == [0.1, 0.1, 1.0, 1.0]


def test_sampler_thins_the_language_model_loss(sampler):
    """Half of the texts' tokens carry the language-model loss, all answers keep theirs."""
    batches = [sampler[step] for step in range(30, 50)]
    kept = sum((b.next_tokens != IGNORED).sum() for b in batches)
    roots = sum((b.bio_tags != IGNORED).sum() for b in batches)
    assert 0.35 < kept / roots < 0.6


def test_sampler_asks_as_the_recipe_says(sampler):
    """Shares of descriptions and limits of absent labels reach the batches."""
    options = {"described_labels": 1.0, "max_absent": 0}
    labels = {"person": LabelConfig(description="Whoever."), "location": LabelConfig(description="Wherever.")}
    plan = sampler._recipe
    changed = plan.model_copy(
        update={
            "augmentation": plan.augmentation.model_copy(update=options),
            "ner": plan.ner.model_copy(update={"labels": labels}),
        }
    )
    shown = show(Sampler(changed, sampler._data, sampler.reformulator)[3])
    assert "entity type:\n person: Whoever.\n\n<num>" in shown
    assert "<num>0\n" not in shown
    assert "Whoever" not in show(sampler[3])


def show(batch) -> str:
    """All rows of a batch as text."""
    return "".join(template().show(row.tolist()) for row in batch.ids)
