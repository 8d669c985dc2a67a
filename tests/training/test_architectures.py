"""Other architectures than Llama: fresh ones, and checkpoints of others to start from."""

import pytest
from structlog.testing import capture_logs

from stream.baselines.config import Baseline
from stream.engine.model.config import FAMILIES
from stream.errors import CheckpointError, ConfigurationError
from stream.generation import Prompt
from stream.training.sections import LossConfig, ModelConfig
from tests.plain_greedy import plain_greedy
from tests.training.changes import changed, starting_from
from tests.training.foreign import FOREIGN_END, FOREIGN_START, foreign_tokenizer, write_foreign
from tests.training.synthetic import recipe, write_data

pytestmark = pytest.mark.train

SERVED = ["llama", "mistral", "qwen2", "qwen3", "gemma3_text"]
OTHERS = ["phi3", "gpt_neox"]
SHAPE = {"hidden": 32, "layers": 3, "heads": 4, "kv_heads": 2, "feed_forward": 64, "max_positions": 512}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The made-up corpora."""
    return write_data(tmp_path_factory.mktemp("data"))


def fresh(architecture, **options):
    """A fresh model in training, as a recipe's section makes it."""
    import torch

    from stream.training.causal import build_model
    from stream.training.model import TrainingModel

    torch.manual_seed(0)
    causal = build_model(ModelConfig(architecture=architecture, **SHAPE | options), 420, 1, 0)
    return TrainingModel(causal, phrases=2, max_count=12, none_id=3, weights=LossConfig(), dropout=0.0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", [*SERVED, *OTHERS])
def test_architectures_fresh_models_learn_by_the_recipe(data, tmp_path, architecture, tied):
    """A recipe names an architecture, and answers are learned with heads tied and untied, grouped or not."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from stream.training.trainer import Trainer

    plan = changed(
        recipe(data, tmp_path / "run", steps=60), model=SHAPE | {"architecture": architecture, "tied": tied}
    )
    trainer = Trainer(plan)
    losses = [float(trainer.train_step(trainer.sampler[step])["answers"]) for step in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10]) / 1.3
    trainer.save()
    folder = plan.output / "checkpoint"
    assert AutoConfig.from_pretrained(folder).model_type == architecture
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert (loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight) == tied


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "mistral"])
def test_architectures_attending_to_a_token_speaks_for_writing_it(architecture):
    """In a fresh model's last layer W_O W_V brings the token attended to back, by every query head."""
    import torch

    attention = fresh(architecture).causal.model.layers[-1].self_attn
    shared = SHAPE["heads"] // SHAPE["kv_heads"]
    value = attention.v_proj.weight.unflatten(0, (-1, 8)).repeat_interleave(shared, 0)
    output = attention.o_proj.weight.unflatten(1, (-1, 8)).transpose(0, 1)
    for one, other in zip(value, output, strict=True):
        assert torch.allclose((other @ one).diagonal().sum(), torch.tensor(8.0), atol=1e-4)


def test_architectures_head_of_its_own_begins_as_the_embedding():
    """What is copied is also written: an untied head starts equal to the embedding."""
    import torch

    causal = fresh("qwen3", tied=False).causal
    head, embedding = causal.get_output_embeddings().weight, causal.get_input_embeddings().weight
    assert head is not embedding
    assert torch.equal(head, embedding)


@pytest.mark.parametrize("architecture", ["gemma2", "cohere", "mamba", "bloom"])
def test_architectures_that_cannot_read_trees_are_refused(architecture):
    """Soft-capped or scaled logits, relative biases and state-space models are named before any step."""
    from stream.training.tree_check import check_tree_attention

    options = {"head_dim": 4} if architecture == "mamba" else {}
    model = fresh(architecture, kv_heads=4, options=options)
    with pytest.raises(ConfigurationError, match="cannot be trained here: it needs attention"):
        check_tree_attention(model, 420)


def test_architectures_unknown_name_is_refused():
    """A name that transformers does not know is said to be wrong, and what would be right."""
    with pytest.raises(ConfigurationError, match=r"architecture = 'nonsense'.*llama, mistral"):
        fresh("nonsense")


def test_architectures_texts_beyond_a_sliding_window_are_refused(data, tmp_path):
    """A window shorter than a prompt is an error that names the option; attention would silently differ."""
    from stream.training.trainer import Trainer

    options = {"architecture": "mistral", "options": {"sliding_window": 16}}
    plan = changed(recipe(data, tmp_path / "run"), model=SHAPE | options)
    with pytest.raises(ConfigurationError, match=r"sliding window of 16.*max_text_tokens"):
        Trainer(plan)


def test_architectures_the_engine_does_not_serve_are_warned_of_and_refused_by_it(data, tmp_path):
    """Training says what the engine serves instead; the engine itself refuses the checkpoint."""
    from stream.engine.decoder import Decoder, EngineOptions
    from stream.training.trainer import Trainer

    plan = changed(recipe(data, tmp_path / "run"), model=SHAPE | {"architecture": "gpt_neox"})
    with capture_logs() as logged:
        trainer = Trainer(plan)
    (reason,) = [line["reason"] for line in logged if line["log_level"] == "warning"]
    assert "GPTNeoXForCausalLM is not served" in reason
    assert all(family in reason for family in FAMILIES)
    trainer.save()
    with pytest.raises(CheckpointError, match=r"GPTNeoXForCausalLM is not served.*LlamaForCausalLM"):
        Decoder.load(plan.output / "checkpoint", EngineOptions(graph_cache=tmp_path))


def test_architectures_baseline_that_the_engine_cannot_score_is_refused(data, tmp_path):
    """A baseline is scored by the engine alone, so it is refused before it is trained."""
    from stream.training.trainer import Trainer

    plan = changed(recipe(data, tmp_path / "run"), model=SHAPE | {"architecture": "gpt_neox"})
    with pytest.raises(ConfigurationError, match="a baseline is scored by the CPU engine"):
        Trainer(plan.model_copy(update={"format": Baseline.ONESTEP}))


@pytest.mark.parametrize(
    ("architecture", "options", "dtype"),
    [
        ("llama", {"tie_word_embeddings": True}, "float16"),
        ("qwen2", {"tie_word_embeddings": False}, "bfloat16"),
        ("qwen3", {"tie_word_embeddings": True}, "float32"),
        ("mistral", {"tie_word_embeddings": False, "sliding_window": None}, "bfloat16"),
        ("gemma3_text", {"tie_word_embeddings": True}, "bfloat16"),
    ],
)
def test_architectures_foreign_checkpoint_keeps_what_it_is(data, tmp_path, architecture, options, dtype):
    """Tokenizer, architecture, head and 16-bit type are the foreign ones; the control tokens are new."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from stream.ner.template import PromptTemplate
    from stream.training.trainer import Trainer

    folder = write_foreign(tmp_path / "foreign", architecture, dtype=getattr(torch, dtype), **options)
    plan = starting_from(folder, data, tmp_path / "run")
    trainer = Trainer(plan)
    trainer.train_step(trainer.sampler[0])
    trainer.save()
    checkpoint = plan.output / "checkpoint"
    config = AutoConfig.from_pretrained(checkpoint)
    assert config.model_type == architecture
    assert config.tie_word_embeddings == options["tie_word_embeddings"]
    assert str(config.dtype).removeprefix("torch.") == ("float16" if dtype == "float32" else dtype)
    old, new = foreign_tokenizer(), PromptTemplate.load(checkpoint)
    assert new.end_id == old.token_to_id(FOREIGN_END) == config.eos_token_id
    assert new.encode_text("Ada met Grace .").ids == tuple(old.encode("Ada met Grace .").ids)
    assert AutoTokenizer.from_pretrained(checkpoint).eos_token == FOREIGN_END
    before = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    after = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    kept = old.get_vocab_size()
    moved = after.get_input_embeddings().weight[:kept] - before.get_input_embeddings().weight[:kept]
    assert moved.abs().max() < 0.01


def test_architectures_new_rows_begin_as_the_mean_of_what_spelled_them(tmp_path):
    """A control token starts where its old spelling was, in the embedding and in a head of its own."""
    import torch

    from stream.training.causal import load_causal
    from stream.training.tokenizer import adopt_tokenizer
    from tests.training.synthetic import ner_config

    folder = write_foreign(tmp_path / "foreign", "qwen3", tie_word_embeddings=False)
    tokenizer = adopt_tokenizer(folder, ner_config())
    model = load_causal(folder, tokenizer, "eager")
    number = tokenizer.tokenizer.token_to_id("3\n")
    spelled = foreign_tokenizer().encode("3\n").ids
    assert tokenizer.added[number] == tuple(spelled)
    assert len(spelled) == 2
    for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        assert len(table) == tokenizer.size
        assert torch.allclose(table[number], table[spelled].mean(0))


def test_architectures_start_token_can_lead_the_template(data, tmp_path):
    """A token that the model expects first is warned of where it is missing; a recipe can set it."""
    from stream.training.trainer import Trainer

    folder = write_foreign(tmp_path / "foreign", "llama", starts=True)
    with capture_logs() as logged:
        Trainer(starting_from(folder, data, tmp_path / "without"))
    assert [line["token"] for line in logged if line["log_level"] == "warning"] == [FOREIGN_START]
    plan = starting_from(folder, data, tmp_path / "with")
    ner = plan.ner.model_dump()
    ner["template"]["text"] = FOREIGN_START + ner["template"]["text"]
    with capture_logs() as logged:
        trainer = Trainer(changed(plan, ner=ner))
    assert not logged
    first = foreign_tokenizer().token_to_id(FOREIGN_START)
    assert trainer.template.prefix_ids(()) == (first, trainer.tokenizer.tokenizer.token_to_id("text:\n"))


def test_architectures_folder_without_a_fast_tokenizer_says_how_to_make_one(data, tmp_path):
    """A checkpoint without tokenizer.json is refused with what makes one."""
    from stream.training.trainer import Trainer

    folder = write_foreign(tmp_path / "foreign", "llama")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigurationError, match=r"AutoTokenizer\.from_pretrained"):
        Trainer(starting_from(folder, data, tmp_path / "run"))
    with pytest.raises(ConfigurationError, match="hf download"):
        adopt_without_weights(tmp_path, data)


def adopt_without_weights(tmp_path, data):
    """Start from a folder that holds a tokenizer alone."""
    from stream.training.trainer import Trainer

    folder = write_foreign(tmp_path / "weightless", "llama")
    (folder / "model.safetensors").unlink()
    Trainer(starting_from(folder, data, tmp_path / "other"))


@pytest.mark.parametrize("architecture", SERVED)
def test_architectures_engine_writes_what_transformers_writes(data, tmp_path, architecture):
    """The exported checkpoint answers count and mention prompts with the same greedy tokens in both."""
    from stream.engine.decoder import Decoder, EngineOptions
    from stream.training.trainer import Trainer

    folder = write_foreign(tmp_path / "foreign", architecture, tie_word_embeddings=False)
    plan = starting_from(folder, data, tmp_path / "run", steps=60)
    trainer = Trainer(plan)
    for step in range(60):
        trainer.train_step(trainer.sampler[step])
    trainer.save()
    template = trainer.template
    prompts = []
    for text in ("Ada met Grace Hopper in Oslo .", "Paris is large .", "Nobody was there ."):
        for label in ("person", "location"):
            prefix = template.prefix_ids(template.encode_text(text).ids)
            count = template.count_prompt(prefix, template.encode_text(label).ids)
            prompts += [count, template.mention_prompt(count, 1, 1)]
    asked = [Prompt(prompt.ids, 6, template.end_id) for prompt in prompts]
    wanted = plain_greedy(plan.output / "checkpoint", asked)
    decoder = Decoder.load(plan.output / "checkpoint", EngineOptions(graph_cache=tmp_path))
    try:
        written = [future.result(60) for future in decoder.submit_many(asked)]
    finally:
        decoder.close()
    assert [each.ids for each in written] == [each.ids for each in wanted]
