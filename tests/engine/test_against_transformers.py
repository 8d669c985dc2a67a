"""Equality with transformers' greedy generation, token for token, on 200 documents (Gemma 3: on 20)."""

import os
import random
from pathlib import Path

import pytest

from stream.engine.decoder import Decoder, EngineOptions
from stream.generation import Prompt
from tests.plain_greedy import plain_greedy
from tests.sample_prompts import DOCUMENTS_VARIABLE, pretrained_folder, sample_prompts, sample_texts

pytestmark = pytest.mark.train

DOCUMENTS = 200
NEW_TOKENS = 6
SHAPES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
    "bos_token_id": None,
    "eos_token_id": 299,
    "pad_token_id": 299,
}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
FAMILIES = {
    "llama": {"tie_word_embeddings": True},
    "llama-llama3": {"tie_word_embeddings": False, "rope_parameters": LLAMA3, "attention_bias": True},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"tie_word_embeddings": False, "head_dim": 32},
    "mistral": {"tie_word_embeddings": False, "sliding_window": 200},
    "gemma3_text": {
        "head_dim": 32, "query_pre_attn_scalar": 24, "sliding_window": 200, "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
}  # fmt: skip
ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "triton_models/checkpoints/padellm-small-en"


def texts() -> list[str]:
    """Sample documents, filled up with sentences of random words."""
    found = sample_texts()
    draw = random.Random(0)
    words = ["Japan", "beat", "Syria", "in", "Tokyo", "on", "Friday", ",", "said", "FIFA", "chief", "Smith"]
    while len(found) < DOCUMENTS:
        found.append(" ".join(draw.choices(words, k=draw.randint(3, 30))))
    return found[:DOCUMENTS]


@pytest.fixture(scope="module", params=FAMILIES)
def random_model(request, tmp_path_factory) -> Path:
    """A random model, made and saved by transformers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(request.param.partition("-")[0], **{**SHAPES, **FAMILIES[request.param]})
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    folder = tmp_path_factory.mktemp("random") / request.param
    model.save_pretrained(folder)
    return folder


def assert_equal(folder: Path, prompts: list[Prompt], cache: Path) -> None:
    """Same tokens, log-probabilities within 1e-3, all prompts in flight at once."""
    decoder = Decoder.load(folder, EngineOptions(graph_cache=cache))
    try:
        futures = decoder.submit_many(prompts)
        for prompt, future, right in zip(prompts, futures, plain_greedy(folder, prompts), strict=True):
            completion = future.result(600)
            assert completion.ids == right.ids, prompt
            assert completion.log_probs == pytest.approx(right.log_probs, abs=1e-3)
    finally:
        decoder.close()


def test_engine_equals_transformers_with_random_weights(random_model, tmp_path):
    """Every family, tied and untied, with biases, head norms and scaled positions."""
    prompts = []
    # Gemma takes transformers more than a second a prompt.
    documents = texts()[: 20 if random_model.name == "gemma3_text" else DOCUMENTS]
    for text in documents:
        ids = tuple(byte for byte in text.encode()[:160])
        prompts += [Prompt((*ids, 260 + branch), NEW_TOKENS, 299, (298,)) for branch in range(2)]
    assert_equal(random_model, prompts, tmp_path)


def test_engine_equals_transformers_with_the_bundled_checkpoint(tmp_path):
    """Count prompts of the sample documents, and a mention prompt for each."""
    assert_equal(BUNDLED, sample_prompts(BUNDLED, texts()), tmp_path)


def test_engine_equals_transformers_with_the_pretrained_model(tmp_path):
    """The adapter merged with its base: a few documents, or as many as EQUALITY_DOCUMENTS says."""
    folder = pretrained_folder()
    documents = int(os.environ.get(DOCUMENTS_VARIABLE, "4"))
    assert_equal(folder, sample_prompts(folder, texts()[:documents]), tmp_path)
