"""The LLM API model's dealings with TensorRT-LLM, as plain values."""

from pathlib import Path
from types import ModuleType

import pytest

from stream.generation import Prompt
from stream.inference.contract import NO_END
from stream.inference.gpu_options import BadOption, GpuOptions
from tests.triton_models.stub import load_model


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module under test."""
    return load_model("llmapi", monkeypatch, "engine")


def test_llmapi_engine_takes_the_options(engine: ModuleType) -> None:
    """Prefixes are reused by blocks, and no prompt is bounded by what one pass takes."""
    options = GpuOptions(Path("model"), "bfloat16", 32, 0.5)
    assert engine.engine_arguments(options, longest=2048) == {
        "model": "model",
        "dtype": "bfloat16",
        "max_batch_size": 32,
        "max_seq_len": 2048,
        "enable_chunked_prefill": True,
        "kv_cache_config": {
            "enable_block_reuse": True,
            "tokens_per_block": 32,
            "free_gpu_memory_fraction": 0.5,
        },
        "skip_tokenizer_init": True,
    }


def test_llmapi_engine_constrains_by_the_backend_that_has_substrings(engine: ModuleType) -> None:
    """A grammar needs llguidance, and the tokenizer."""
    arguments = engine.engine_arguments(GpuOptions(Path("model"), constrained=True), longest=2048)
    assert arguments["guided_decoding_backend"] == "llguidance"
    assert not arguments["skip_tokenizer_init"]


def test_llmapi_engine_refuses_to_speculate(engine: ModuleType) -> None:
    """TensorRT-LLM refuses log-probabilities beside drafts: the start ends with the variable's name."""
    with pytest.raises(BadOption, match="PADELLM_GPU_DRAFT_TOKENS=4"):
        engine.engine_arguments(GpuOptions(Path("model"), draft_tokens=4), longest=2048)


def test_llmapi_engine_keeps_the_stop_id_that_it_would_cut(engine: ModuleType) -> None:
    """Stop ids stay in the answer, hold beside the end id, and every token has its log-probability."""
    assert engine.sampling_arguments(Prompt((1, 2), 7, 5, (9, 3))) == {
        "top_k": 1,
        "max_tokens": 7,
        "end_id": 5,
        "pad_id": 0,
        "stop_token_ids": [9, 3],
        "include_stop_str_in_output": True,
        "logprobs": 1,
        "detokenize": False,
        "add_special_tokens": False,
    }
    free = engine.sampling_arguments(Prompt((1,), 1, NO_END))
    assert (free["end_id"], free["stop_token_ids"]) == (-1, None)
