"""The model's dealings with vLLM as plain values: options of the engine, of sampling, and answers read back.

Nothing here imports vLLM.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from stream.generation import Completion, Prompt
from stream.inference.contract import NO_END, CacheUse, Refusal

# The smallest blocks of the KV cache: a prefix is used again by whole blocks. The CPU's attention takes
# multiples of 32 alone.
BLOCK = 16
BLOCK_ON_CPU = 32
# Tokens to look up in the prompt: after the first token of a mention there is no more than this one.
_SHORTEST_LOOKUP, _LONGEST_LOOKUP = 1, 3


class BadOption(Exception):  # noqa: N818 - names what it is
    """A variable of the environment holds what its option does not take."""


@dataclass(frozen=True)
class VllmOptions:
    """Options of the engine, from the environment.

    Attributes:
        model: Folder of the checkpoint (PADELLM_MODEL).
        dtype: ``auto`` for the checkpoint's own, or float32, float16, bfloat16 (PADELLM_VLLM_DTYPE).
        max_sequences: Most sequences in one batch (PADELLM_VLLM_MAX_SEQUENCES).
        gpu_memory: Share of the GPU's memory for weights, KV cache and workspace (PADELLM_VLLM_GPU_MEMORY).
        draft_tokens: Most tokens to speculate at once, found in the prompt; 0 for none
            (PADELLM_VLLM_DRAFT_TOKENS).
        constrained: Whether mentions are constrained to substrings of the text (PADELLM_CONSTRAINED).
    """

    model: Path
    dtype: str = "auto"
    max_sequences: int = 256
    gpu_memory: float = 0.9
    draft_tokens: int = 0
    constrained: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "VllmOptions":
        """Read the variables; one that is empty counts as unset.

        Raises:
            BadOption: The message names the variable.
        """
        model = environment.get("PADELLM_MODEL") or ""
        if not (Path(model) / "config.json").is_file():
            raise BadOption(f"PADELLM_MODEL: {model!r} is no model folder: it holds no config.json")
        return cls(
            model=Path(model),
            dtype=environment.get("PADELLM_VLLM_DTYPE") or cls.dtype,
            max_sequences=int(_number(environment, "PADELLM_VLLM_MAX_SEQUENCES", cls.max_sequences, low=1)),
            gpu_memory=_number(environment, "PADELLM_VLLM_GPU_MEMORY", cls.gpu_memory, low=0.01, high=1.0),
            draft_tokens=int(_number(environment, "PADELLM_VLLM_DRAFT_TOKENS", cls.draft_tokens, low=0)),
            constrained=_boolean(environment, "PADELLM_CONSTRAINED"),
        )

    def engine_arguments(self, *, on_cpu: bool) -> dict[str, Any]:
        """Arguments of vLLM's engine, by name."""
        arguments: dict[str, Any] = {
            "model": str(self.model),
            "dtype": self.dtype,
            "max_num_seqs": self.max_sequences,
            # All prompts of a document begin with its text: it is read once.
            "enable_prefix_caching": True,
            "block_size": BLOCK_ON_CPU if on_cpu else BLOCK,
            # Ids come and go; a grammar alone needs to know what they spell.
            "skip_tokenizer_init": not self.constrained,
            # The model's length, or less where the KV cache has no room for one such sequence.
            "max_model_len": -1,
            # Compiling for a CPU takes longer than a test.
            "enforce_eager": on_cpu,
        }
        if not on_cpu:
            arguments["gpu_memory_utilization"] = self.gpu_memory
        if self.draft_tokens:
            arguments["speculative_config"] = {
                "method": "ngram",
                "num_speculative_tokens": self.draft_tokens,
                "prompt_lookup_min": _SHORTEST_LOOKUP,
                "prompt_lookup_max": _LONGEST_LOOKUP,
            }
        if self.constrained:
            # The one backend with a grammar of substrings.
            arguments["structured_outputs_config"] = {"backend": "guidance"}
        return arguments


@dataclass(frozen=True)
class PromptLimits:
    """Bounds of what the engine takes.

    Attributes:
        vocabulary: Number of token ids.
        length: Most tokens of a prompt and its answer.
    """

    vocabulary: int
    length: int

    def check(self, prompt: Prompt) -> None:
        """Refuse a prompt here: an id that the model lacks would break the GPU's context for all requests.

        Raises:
            Refusal: It has such an id, or could not be answered in full.
        """
        if min(prompt.ids) < 0 or max(prompt.ids) >= self.vocabulary:
            raise Refusal(f"token ids go from 0 to {self.vocabulary - 1}; the prompt holds others")
        if len(prompt.ids) + prompt.max_new_tokens > self.length:
            raise Refusal(
                f"{len(prompt.ids)} prompt tokens and up to {prompt.max_new_tokens} new ones do not fit: the "
                f"model takes {self.length}"
            )


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


def read_completion(prompt: Prompt, ids: Sequence[int], log_probs: Sequence[Mapping[int, Any]]) -> Completion:
    """The completion that vLLM's output stands for: without the end id, which it leaves at the end.

    Args:
        prompt: What was asked.
        ids: Produced ids.
        log_probs: For each of them, objects with a ``logprob`` by id.
    """
    length = len(ids) - 1 if ids and ids[-1] == prompt.end_id else len(ids)
    own = (float(by_id[one].logprob) for one, by_id in zip(ids, log_probs, strict=True))
    return Completion(tuple(ids[:length]), tuple(own)[:length])


def cache_use(prompt: Prompt, cached: int, block: int) -> CacheUse:
    """Blocks of a prompt's tokens, of which some were cached."""
    return CacheUse(reused=cached // block, total=-(-len(prompt.ids) // block))


class Substrings:
    """Grammars of the substrings of prompts' texts.

    The text is the prompt's first run of ordinary tokens, as for the CPU engine (``stream.engine.prompt``).

    Args:
        tokenizer: Of the checkpoint.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._controls = {number for number, token in added.items() if token.special}

    def grammar(self, prompt: Prompt) -> str | None:
        """Grammar (llguidance) of the answers to a prompt; None where they are free, as counts are."""
        if prompt.stop_ids or prompt.max_new_tokens == 1:
            return None
        text: str = self._tokenizer.decode(_first_run(prompt.ids, self._controls), skip_special_tokens=False)
        if not text:
            return None
        # A mention may begin with a space also where the text begins with it.
        spaced = text if text.startswith(" ") else f" {text}"
        return f"start: SUB\nSUB: %regex {json.dumps({'substring_chars': spaced})}"


def _first_run(ids: Sequence[int], controls: Collection[int]) -> list[int]:
    """The first run of ids that are no controls."""
    run: list[int] = []
    for one in ids:
        if one not in controls:
            run.append(one)
        elif run:
            break
    return run


def _number(
    environment: Mapping[str, str], name: str, default: float, *, low: float, high: float = math.inf
) -> float:
    """A number within bounds, whole where the default is."""
    text = environment.get(name)
    if not text:
        return default
    try:
        number = type(default)(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        bounds = f"of {low} or more" if math.isinf(high) else f"from {low} to {high}"
        raise BadOption(f"{name}={text!r}: expected a {type(default).__name__} {bounds}")
    return number


def _boolean(environment: Mapping[str, str], name: str) -> bool:
    text = (environment.get(name) or "false").lower()
    if text not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise BadOption(f"{name}={text!r}: expected true or false")
    return text in {"1", "true", "yes", "on"}
