"""The vLLM model's dealings with its engine, as plain values."""

from pathlib import Path
from types import ModuleType

import pytest

from stream.generation import Prompt
from stream.inference.contract import NO_END
from stream.inference.gpu_options import GpuOptions
from tests.triton_models.stub import load_model


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module under test."""
    return load_model("vllm", monkeypatch, "engine")


def test_vllm_engine_defaults_are_the_checkpoints(engine: ModuleType) -> None:
    """Without settings: the checkpoint's type and length, prefixes cached in small blocks, no drafts."""
    assert engine.engine_arguments(GpuOptions(Path("model")), on_cpu=False) == {
        "model": "model",
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
    """Each option sets its argument; a grammar needs the tokenizer, and a CPU has no share of a GPU."""
    options = GpuOptions(Path("model"), "bfloat16", 32, 0.5, 4, constrained=True)
    arguments = engine.engine_arguments(options, on_cpu=False)
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
    on_cpu = engine.engine_arguments(options, on_cpu=True)
    assert on_cpu["block_size"] == 32
    assert "gpu_memory_utilization" not in on_cpu


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
