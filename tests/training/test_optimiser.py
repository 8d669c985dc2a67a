"""What steps which weights."""

import pytest

from tests.training.changes import changed
from tests.training.synthetic import recipe, write_data

pytestmark = pytest.mark.train


def test_optimiser_muon_steps_matrices_of_layers_alone(tmp_path):
    """With Muon a layer's matrix steps along U V^T of its gradient's SVD, all else as with AdamW."""
    import torch

    from stream.training.causal import decoder_layers
    from stream.training.trainer import Trainer

    plan = recipe(write_data(tmp_path / "data"), tmp_path / "run")
    by_adamw, by_muon = Trainer(plan), Trainer(changed(plan, training={"optimizer": "muon"}))
    before = {name: value.detach().clone() for name, value in by_muon.model.named_parameters()}
    for trainer in (by_adamw, by_muon):
        trainer.train_step(trainer.sampler[0])
    matrices = {id(p) for p in decoder_layers(by_muon.model.causal).parameters() if p.ndim == 2}
    kept = 1 - plan.training.learning_rate(0) * plan.training.weight_decay

    def alignment(value, name) -> float:
        step = before[name] * kept - value
        left, _, right = torch.linalg.svd(value.grad, full_matrices=False)
        return torch.cosine_similarity(step.flatten(), (left @ right).flatten(), dim=0).item()

    adamw = dict(by_adamw.model.named_parameters())
    assert matrices
    for name, value in by_muon.model.named_parameters():
        if id(value) in matrices:
            # Below 1 where a gradient has singular values near 0.
            assert alignment(value, name) > 0.8 > alignment(adamw[name], name), name
        else:
            assert torch.equal(value, adamw[name]), name


def test_optimiser_muon_refuses_parts_of_weights(tmp_path):
    """Where each process has a part of a matrix, none could make its step orthogonal."""
    with pytest.raises(ValueError, match="muon steps whole matrices: not with `sharded`"):
        changed(recipe(tmp_path, tmp_path), sharded=True, training={"optimizer": "muon"})
