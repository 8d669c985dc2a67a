"""The model's dealings with vLLM as plain values: arguments of its engine, and of sampling.

Nothing here imports vLLM.
"""

from typing import Any

from stream.generation import Prompt
from stream.inference.contract import NO_END
from stream.inference.gpu_options import GpuOptions

# The smallest blocks of the KV cache: a prefix is used again by whole blocks. The CPU's attention takes
# multiples of 32 alone.
BLOCK = 16
BLOCK_ON_CPU = 32
# Tokens to look up in the prompt: after the first token of a mention there is no more than this one.
_SHORTEST_LOOKUP, _LONGEST_LOOKUP = 1, 3


def engine_arguments(options: GpuOptions, *, on_cpu: bool) -> dict[str, Any]:
    """Arguments of vLLM's engine, by name."""
    arguments: dict[str, Any] = {
        "model": str(options.model),
        "dtype": options.dtype,
        "max_num_seqs": options.max_sequences,
        # All prompts of a document begin with its text: it is read once.
        "enable_prefix_caching": True,
        "block_size": BLOCK_ON_CPU if on_cpu else BLOCK,
        # Ids come and go; a grammar alone needs to know what they spell.
        "skip_tokenizer_init": not options.constrained,
        # The model's length, or less where the KV cache has no room for one such sequence.
        "max_model_len": -1,
        # Compiling for a CPU takes longer than a test.
        "enforce_eager": on_cpu,
    }
    if not on_cpu:
        arguments["gpu_memory_utilization"] = options.memory
    if options.draft_tokens:
        arguments["speculative_config"] = {
            "method": "ngram",
            "num_speculative_tokens": options.draft_tokens,
            "prompt_lookup_min": _SHORTEST_LOOKUP,
            "prompt_lookup_max": _LONGEST_LOOKUP,
        }
    if options.constrained:
        # The one backend with a grammar of substrings.
        arguments["structured_outputs_config"] = {"backend": "guidance"}
    return arguments


def sampling_arguments(prompt: Prompt) -> dict[str, Any]:
    """Arguments of vLLM's sampling, by name: greedy, ended by the request's ids alone."""
    ends = {prompt.end_id, *prompt.stop_ids} - {NO_END}
    return {
        "temperature": 0.0,
        "max_tokens": prompt.max_new_tokens,
        "stop_token_ids": sorted(ends),
        # The request names its end; the checkpoint's own may be another.
        "ignore_eos": True,
        # Of the chosen token alone, over the whole vocabulary.
        "logprobs": 0,
        "detokenize": False,
    }
