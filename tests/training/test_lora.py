"""Low-rank adapters on a frozen checkpoint."""

import pytest

from stream.errors import CheckpointError, ConfigurationError
from tests.training.changes import changed, starting_from
from tests.training.foreign import write_foreign
from tests.training.synthetic import recipe, write_data

pytestmark = pytest.mark.train

ADAPTERS = {"rank": 4, "alpha": 16.0, "dropout": 0.1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The made-up corpora."""
    return write_data(tmp_path_factory.mktemp("data"))


def trained(plan, steps=20):
    """A trainer some steps on, saved."""
    from stream.training.trainer import Trainer

    trainer = Trainer(plan)
    for step in range(steps):
        trainer.train_step(trainer.sampler[step])
    trainer.save()
    return trainer


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "phi3"])
def test_lora_merged_export_gives_the_adapted_models_logits(data, tmp_path, architecture, tied, weights):
    """The exported checkpoint has no adapter left, and its logits are those of the model that was trained."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = write_foreign(tmp_path / "foreign", architecture, tie_word_embeddings=tied)
    options = {"weights": weights, "lr_schedule": [{"steps": 20, "learning_rate": 1e-2}]}
    plan = starting_from(folder, data, tmp_path / "run", export_weights="float32", training=options)
    trainer = trained(changed(plan, lora=ADAPTERS))
    adapted = trainer.model.causal.eval()
    loaded = AutoModelForCausalLM.from_pretrained(plan.output / "checkpoint", dtype=torch.float32)
    assert not [name for name, _ in loaded.named_parameters() if "lora" in name or "adapter" in name]
    ids = torch.tensor([trainer.template.prefix_ids(trainer.template.encode_text("Ada met Alan .").ids)])
    before = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before.resize_token_embeddings(len(adapted.get_input_embeddings().weight))
    with torch.inference_mode():
        logits, wanted = loaded(input_ids=ids).logits, adapted(input_ids=ids).logits.float()
        moved = (before(input_ids=ids).logits - wanted).abs().max()
    # In bfloat16 the adapted model itself computes no finer than that.
    near = 1e-4 if weights == "float32" else 0.1 * float(moved)
    assert (logits - wanted).abs().max() < near < moved


def test_lora_merges_as_peft_does(data, tmp_path):
    """Merging the state gives, weight by weight, what peft's own merging of a whole model gives."""
    import torch

    from stream.training.lora import merged

    folder = write_foreign(tmp_path / "foreign", "qwen3", tie_word_embeddings=False)
    trainer = trained(changed(starting_from(folder, data, tmp_path / "run"), lora=ADAPTERS))
    causal, rows = trainer.model.causal, list(trainer.tokenizer.added)
    ours = merged(causal.state_dict(), trainer.recipe.lora, rows, torch.float32)
    for part in list(causal.modules()):
        if hasattr(part, "merge") and hasattr(part, "base_layer"):
            part.merge()
    for name, weight in causal.state_dict().items():
        if "lora_" not in name and "trainable_tokens" not in name:
            plain = name.replace("token_adapter.", "").replace("base_layer.", "")
            assert torch.allclose(ours.pop(plain), weight, atol=1e-6), name
    assert not ours


def test_lora_leaves_the_checkpoint_as_it_was(data, tmp_path):
    """Only the adapted layers, by no more than the rank, and the new control tokens' rows have changed."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = write_foreign(tmp_path / "foreign", "llama", tie_word_embeddings=False)
    plan = starting_from(folder, data, tmp_path / "run", export_weights="float32")
    trainer = trained(changed(plan, lora=ADAPTERS | {"targets": ["q_proj", "v_proj"]}))
    before = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    after = AutoModelForCausalLM.from_pretrained(plan.output / "checkpoint", dtype=torch.float32).state_dict()
    old = [n for n in range(len(before["lm_head.weight"])) if n not in trainer.tokenizer.added]
    for name, weight in before.items():
        if "embed_tokens" in name or "lm_head" in name:
            assert torch.equal(after[name][old], weight[old]), name
            assert not torch.equal(after[name][-1], weight[-1])
        elif "q_proj" in name or "v_proj" in name:
            change = torch.linalg.matrix_rank(after[name] - weight, atol=1e-5)
            assert 1 <= change <= ADAPTERS["rank"], name
        else:
            assert torch.equal(after[name], weight), name


def test_lora_learns_the_answers(data, tmp_path):
    """The loss of answers falls although the checkpoint is frozen."""
    from stream.training.trainer import Trainer

    folder = write_foreign(tmp_path / "foreign", "qwen2", tie_word_embeddings=True)
    rates = {"lr_schedule": [{"steps": 120, "learning_rate": 1e-2}]}
    plan = changed(starting_from(folder, data, tmp_path / "run", training=rates), lora=ADAPTERS)
    trainer = Trainer(plan)
    losses = [float(trainer.train_step(trainer.sampler[step])["answers"]) for step in range(120)]
    assert sum(losses[-10:]) < sum(losses[:10]) / 1.2


def test_lora_run_resumes_with_the_same_weights(data, tmp_path):
    """The state holds what is trained alone, and a run that goes on from it ends in the same weights."""
    import torch

    from stream.training.trainer import Trainer

    folder = write_foreign(tmp_path / "foreign", "llama")

    def plan(output):
        averaged = {"ema_decay": 0.9}
        return changed(starting_from(folder, data, tmp_path / output, training=averaged), lora=ADAPTERS)

    whole, first = trained(plan("whole"), 6), trained(plan("parts"), 3)
    state = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["model"]
    assert not [name for name in state if name.endswith("base_layer.weight")]
    assert sum(map(torch.numel, state.values())) < sum(p.numel() for p in first.model.parameters()) / 2
    second = Trainer(plan("parts"))
    for step in range(3, 6):
        second.train_step(second.sampler[step])
    for one, other in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_lora_needs_a_checkpoint_and_layers_that_are_there(data, tmp_path):
    """Adapters on nothing, and on layers that are not there, are refused with the option's name."""
    from stream.training.trainer import Trainer

    with pytest.raises(ValueError, match=r"\[lora\] adapts a checkpoint: `init_from`"):
        changed(recipe(data, tmp_path / "run"), lora=ADAPTERS)
    folder = write_foreign(tmp_path / "foreign", "llama")
    plan = starting_from(folder, data, tmp_path / "run")
    with pytest.raises(ConfigurationError, match=r"\[lora\] targets = \['nothing'\]"):
        Trainer(changed(plan, lora=ADAPTERS | {"targets": ["nothing"]}))
    gpt2 = starting_from(write_foreign(tmp_path / "gpt2", "gpt2"), data, tmp_path / "run")
    with pytest.raises(ConfigurationError, match="LoRA adapts linear layers"):
        Trainer(changed(gpt2, lora=ADAPTERS))


def test_lora_state_of_another_model_is_refused(data, tmp_path):
    """An output folder that holds another model's state is named, instead of going on from it."""
    from stream.training.trainer import Trainer

    trained(recipe(data, tmp_path / "run"), 1)
    folder = write_foreign(tmp_path / "foreign", "llama")
    with pytest.raises(ConfigurationError, match="use another output folder"):
        Trainer(changed(starting_from(folder, data, tmp_path / "run"), lora=ADAPTERS))


def test_lora_goes_on_from_a_written_adapter(data, tmp_path):
    """A run that starts with an adapter's folder serves what the run that wrote it served."""
    import torch

    from stream.training.trainer import Trainer

    folder = write_foreign(tmp_path / "foreign", "llama", tie_word_embeddings=True)
    plan = changed(starting_from(folder, data, tmp_path / "first"), lora=ADAPTERS)
    first = trained(plan)
    written = plan.output / "checkpoint" / "adapter"
    going_on = starting_from(folder, data, tmp_path / "second")
    second = Trainer(changed(going_on, lora=ADAPTERS | {"initial": str(written)}))
    fresh = Trainer(changed(starting_from(folder, data, tmp_path / "fresh"), lora=ADAPTERS))
    ids = torch.tensor([first.template.prefix_ids(first.template.encode_text("Ada met Alan .").ids)])
    with torch.inference_mode():
        before, after, unlike = (
            trainer.model.causal.eval()(input_ids=ids).logits.float() for trainer in (first, second, fresh)
        )
    # It is written in float16.
    assert (after - before).abs().max() < 1e-2 < (unlike - before).abs().max()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": 8}, "rank 4 and alpha 16.0"),
        ({"alpha": 8.0}, "rank 4 and alpha 16.0"),
        ({"targets": ["q_proj"]}, "adapts other layers"),
        ({"initial": "nowhere"}, "nowhere holds no adapter"),
    ],
    ids=["rank", "alpha", "layers", "no folder"],
)
def test_lora_refuses_an_adapter_of_another_shape(data, tmp_path, change, words):
    """An adapter that this run would not have written is refused, with the setting to change."""
    from stream.training.trainer import Trainer

    folder = write_foreign(tmp_path / "foreign", "llama", tie_word_embeddings=True)
    plan = changed(starting_from(folder, data, tmp_path / "first"), lora=ADAPTERS)
    trained(plan, steps=1)
    initial = {"initial": str(plan.output / "checkpoint" / "adapter")}
    other = changed(starting_from(folder, data, tmp_path / "second"), lora=ADAPTERS | initial | change)
    with pytest.raises(CheckpointError, match=words):
        Trainer(other)
