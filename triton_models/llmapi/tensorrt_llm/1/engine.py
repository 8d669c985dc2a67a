"""The model's dealings with TensorRT-LLM's LLM API as plain values: arguments of its engine, and of sampling.

Nothing here imports TensorRT-LLM.
"""

from typing import Any

from stream.generation import Prompt
from stream.inference.gpu_options import BadOption, GpuOptions

BLOCK = 32  # tokens of the KV cache that are used again together
# Log-probabilities are those of the most probable tokens; greedy decoding takes the first.
_TOP_1 = 1


def engine_arguments(options: GpuOptions, *, longest: int) -> dict[str, Any]:
    """Arguments of ``tensorrt_llm.LLM``, by name; ``kv_cache_config`` holds those of ``KvCacheConfig``.

    Args:
        options: From the environment; the model's folder must be one that transformers 4 reads.
        longest: Most tokens of a prompt and its answer.

    Raises:
        BadOption: TensorRT-LLM has no such option.
    """
    if options.draft_tokens:
        raise BadOption(
            f"PADELLM_GPU_DRAFT_TOKENS={options.draft_tokens}: TensorRT-LLM gives no "
            "log-probabilities, which are the scores, while it speculates; unset it"
        )
    arguments: dict[str, Any] = {
        "model": str(options.model),
        "dtype": options.dtype,
        "max_batch_size": options.max_sequences,
        "max_seq_len": longest,
        # A prompt may be longer than what one pass takes.
        "enable_chunked_prefill": True,
        # All prompts of a document begin with its text: it is read once.
        "kv_cache_config": {
            "enable_block_reuse": True,
            "tokens_per_block": BLOCK,
            "free_gpu_memory_fraction": options.memory,
        },
        # Ids come and go; a grammar alone needs to know what they spell.
        "skip_tokenizer_init": not options.constrained,
    }
    if options.constrained:
        # The one backend with a grammar of substrings.
        arguments["guided_decoding_backend"] = "llguidance"
    return arguments


def sampling_arguments(prompt: Prompt) -> dict[str, Any]:
    """Arguments of TensorRT-LLM's ``SamplingParams``, by name: greedy, ended by the request's ids alone."""
    return {
        "top_k": 1,
        "max_tokens": prompt.max_new_tokens,
        # NO_END is -1, the API's own word for no end. Its ``ignore_eos`` would drop the stop ids as well.
        "end_id": prompt.end_id,
        "pad_id": 0,
        "stop_token_ids": list(prompt.stop_ids) or None,
        # Otherwise the stop id that ended an answer is cut from it.
        "include_stop_str_in_output": True,
        # Over the whole vocabulary; 0 would be none at all.
        "logprobs": _TOP_1,
        "detokenize": False,
        "add_special_tokens": False,
    }
