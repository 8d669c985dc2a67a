"""The vLLM model's dealings with its engine, as plain values."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tokenizers import Tokenizer

from stream.bundled import model_folder
from stream.generation import Completion, Prompt
from stream.inference.contract import NO_END, CacheUse, Refusal
from stream.ner.template import PromptTemplate
from tests.triton_models.stub import load_model

_MODEL = model_folder(None)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module under test."""
    return load_model("vllm", monkeypatch, "engine")


def test_vllm_engine_defaults_are_the_checkpoints(engine: ModuleType) -> None:
    """Without settings: the checkpoint's type and length, prefixes cached in small blocks, no drafts."""
    options = engine.VllmOptions.from_environment({"PADELLM_MODEL": str(_MODEL), "PADELLM_VLLM_DTYPE": ""})
    assert options.engine_arguments(on_cpu=False) == {
        "model": str(_MODEL),
        "dtype": "auto",
        "max_num_seqs": 256,
        "enable_prefix_caching": True,
        "block_size": 16,
        "skip_tokenizer_init": True,
        "max_model_len": -1,
        "enforce_eager": False,
        "gpu_memory_utilization": 0.9,
    }


def test_vllm_engine_settings_reach_the_engine(engine: ModuleType) -> None:
    """Each variable sets its option; a grammar needs the tokenizer, and a CPU has no share of a GPU."""
    options = engine.VllmOptions.from_environment(
        {
            "PADELLM_MODEL": str(_MODEL),
            "PADELLM_CONSTRAINED": "yes",
            "PADELLM_VLLM_DTYPE": "bfloat16",
            "PADELLM_VLLM_MAX_SEQUENCES": "32",
            "PADELLM_VLLM_GPU_MEMORY": "0.5",
            "PADELLM_VLLM_DRAFT_TOKENS": "4",
        }
    )
    arguments = options.engine_arguments(on_cpu=False)
    assert (arguments["dtype"], arguments["max_num_seqs"], arguments["gpu_memory_utilization"]) == (
        "bfloat16",
        32,
        0.5,
    )
    assert arguments["speculative_config"] == {
        "method": "ngram",
        "num_speculative_tokens": 4,
        "prompt_lookup_min": 1,
        "prompt_lookup_max": 3,
    }
    assert arguments["structured_outputs_config"] == {"backend": "guidance"}
    assert not arguments["skip_tokenizer_init"]
    on_cpu = options.engine_arguments(on_cpu=True)
    assert on_cpu["block_size"] == 32
    assert "gpu_memory_utilization" not in on_cpu


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PADELLM_MODEL", "/no/model", "config.json"),
        ("PADELLM_VLLM_MAX_SEQUENCES", "0", "1 or more"),
        ("PADELLM_VLLM_MAX_SEQUENCES", "1.5", "1 or more"),
        ("PADELLM_VLLM_GPU_MEMORY", "90", "from 0.01 to 1.0"),
        ("PADELLM_VLLM_DRAFT_TOKENS", "many", "0 or more"),
        ("PADELLM_CONSTRAINED", "perhaps", "true or false"),
    ],
)
def test_vllm_engine_names_a_setting_that_cannot_be(
    engine: ModuleType, variable: str, value: str, expected: str
) -> None:
    """A wrong setting ends the start with its variable, its value and what is expected."""
    with pytest.raises(engine.BadOption, match=expected) as raised:
        engine.VllmOptions.from_environment({"PADELLM_MODEL": str(_MODEL), variable: value})
    assert variable in str(raised.value)
    assert value in str(raised.value)


def test_vllm_engine_samples_greedily_until_the_requests_ends(engine: ModuleType) -> None:
    """The request's end and stop ids end the answer, no others; log-probabilities are of chosen tokens."""
    sampling = engine.sampling_arguments(Prompt((1, 2), 7, 5, (9, 3)))
    assert sampling == {
        "temperature": 0.0,
        "max_tokens": 7,
        "stop_token_ids": [3, 5, 9],
        "ignore_eos": True,
        "logprobs": 0,
        "detokenize": False,
    }
    assert engine.sampling_arguments(Prompt((1,), 1, NO_END))["stop_token_ids"] == []


@pytest.mark.parametrize(
    ("end_id", "expected"),
    [(6, Completion((4, 5), (-0.4, -0.5))), (NO_END, Completion((4, 5, 6), (-0.4, -0.5, -0.6)))],
)
def test_vllm_engine_leaves_the_end_id_out(engine: ModuleType, end_id: int, expected: Completion) -> None:
    """VLLM leaves the end id at the end; the contract has neither it nor its log-probability."""
    log_probs = [
        {one: SimpleNamespace(logprob=-one / 10), 99: SimpleNamespace(logprob=0.0)} for one in (4, 5, 6)
    ]
    completion = engine.read_completion(Prompt((1,), 3, end_id), [4, 5, 6], log_probs)
    assert (completion.ids, completion.log_probs) == (expected.ids, expected.log_probs)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (Prompt((1, 10), 1, 0), "from 0 to 9"),
        (Prompt((-1,), 1, 0), "from 0 to 9"),
        (Prompt((1,) * 7, 2, 0), "7 prompt tokens and up to 2 new ones do not fit: the model takes 8"),
    ],
)
def test_vllm_engine_refuses_what_would_break_or_be_cut(
    engine: ModuleType, prompt: Prompt, reason: str
) -> None:
    """An id outside the vocabulary would end a GPU's context, and a long prompt's answer would be cut."""
    limits = engine.PromptLimits(vocabulary=10, length=8)
    with pytest.raises(Refusal, match=reason):
        limits.check(prompt)
    limits.check(Prompt((1, 9), 6, 0))


def test_vllm_engine_counts_blocks(engine: ModuleType) -> None:
    """A block in part filled is a block; cached tokens are whole ones."""
    assert engine.cache_use(Prompt((1,) * 33, 1, 0), 32, 16) == CacheUse(reused=2, total=3)


def test_vllm_engine_grammar_is_of_the_prompts_text(engine: ModuleType) -> None:
    """The grammar of a mention is that of the substrings of the text alone; a count has none."""
    template = PromptTemplate.load(_MODEL)
    substrings = engine.Substrings(Tokenizer.from_file(str(_MODEL / "tokenizer.json")))
    text = 'Ada "Byron"\nLovelace lived in Nürnberg.'
    label = template.encode_text("person").ids
    count = template.count_prompt(template.prefix_ids(template.encode_text(text).ids), label)
    start, sub = substrings.grammar(template.mention_prompt(count, 2, 1)).splitlines()
    assert start == "start: SUB"
    assert json.loads(sub.removeprefix("SUB: %regex ")) == {"substring_chars": f" {text}"}
    assert substrings.grammar(count) is None
    assert substrings.grammar(Prompt(count.ids, 1, 1)) is None
    assert substrings.grammar(Prompt(template.prefix_ids(()), 5, 1)) is None


def test_vllm_engine_needs_no_vllm() -> None:
    """The pure part can be read where vLLM is not: it names it nowhere in its imports."""
    source = Path(__file__).parents[2] / "triton_models" / "vllm" / "tensorrt_llm" / "1" / "engine.py"
    imports = [line for line in source.read_text().splitlines() if line.startswith(("import", "from"))]
    assert not any("vllm" in line or "torch" in line for line in imports)
