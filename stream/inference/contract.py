"""The ``tensorrt_llm`` contract as a server keeps it: inputs of a request, tensors of its answer, words.

Names, shapes, paddings and error texts are those of NVIDIA's C++ backend (``inflight_batcher_llm`` of
TensorRT-LLM 1.2.1), which answers every fault of a single request with INTERNAL. Nothing here needs Triton or
gRPC, so every model of the contract shares it, whatever its image holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.generation import Completion, Prompt

# Words of Triton and of its TensorRT-LLM backend.
QUEUE_FULL_IN_TRITON = "Exceeds maximum queue size"
QUEUED_TOO_LONG = "Request timeout expired"
QUEUE_FULL_IN_ENGINE = "Maximum queue size of {limit} has been reached, please try again later"
BATCH_REFUSED = "Batch size > 1 requires the tensorrt_llm backend to be using decoupled transaction policy"
STREAMING_REFUSED = "Streaming is only supported if model is deployed using decoupled mode."

PADDING = -1
NO_END = -1  # the id of no token

# Inputs that must keep their neutral value, and inputs that must be absent.
_NEUTRAL: dict[str, tuple[float, ...]] = {
    "beam_width": (1,),
    "num_return_sequences": (1,),
    "runtime_top_k": (0, 1),
    "min_tokens": (0, 1),
    "temperature": (1,),
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "return_context_logits": (False,),
    "return_generation_logits": (False,),
    "stop": (False,),
}
_NO_METRICS: dict[str, tuple[float, ...]] = {"return_perf_metrics": (False,)}
_ABSENT = {
    "bad_words_list",
    "embedding_bias",
    "draft_input_ids",
    "draft_logits",
}

Inputs = Mapping[str, NDArray[Any]]


class Refusal(Exception):  # noqa: N818 - names what it is
    """A request that is answered with an error.

    Attributes:
        unsupported: Its status is UNSUPPORTED instead of INTERNAL.
    """

    def __init__(self, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        self.unsupported = unsupported


@dataclass(frozen=True)
class CacheUse:
    """Blocks of the KV cache that a prompt took: those that it found there, and all of them."""

    reused: int
    total: int


@dataclass(frozen=True)
class GenerationRequest:
    """The content of one request.

    Attributes:
        outputs: Names of the tensors to answer with.
        exclude_input: The answer's ids are without the prompt's.
    """

    prompt: Prompt
    outputs: frozenset[str]
    exclude_input: bool
    return_log_probs: bool = False
    return_num_input_tokens: bool = False
    return_num_output_tokens: bool = False
    return_perf_metrics: bool = False

    @classmethod
    def parse(
        cls,
        inputs: Inputs,
        outputs: frozenset[str],
        *,
        engine: str,
        exclude_input: bool = True,
        perf_metrics: bool = False,
    ) -> "GenerationRequest":
        """Copy a request's content; the buffers of its inputs may be freed once this returns.

        Args:
            inputs: Arrays by name, with the batch in front.
            outputs: Names of the tensors that are asked for.
            engine: What the refusals call the engine.
            exclude_input: Default of ``exclude_input_in_output``.
            perf_metrics: The engine counts blocks of its cache, for ``return_perf_metrics``.

        Raises:
            Refusal: It is malformed, or needs more than greedy decoding.
        """
        _check(inputs, outputs)
        _check_greedy(inputs, _NEUTRAL if perf_metrics else _NEUTRAL | _NO_METRICS, engine)
        return cls(
            prompt=Prompt(
                ids=tuple(inputs["input_ids"][0].tolist()),
                max_new_tokens=_scalar(inputs, "request_output_len", 0),
                end_id=_scalar(inputs, "end_id", NO_END),
                stop_ids=_stop_ids(inputs, engine),
            ),
            outputs=outputs,
            exclude_input=_scalar(inputs, "exclude_input_in_output", exclude_input),
            return_log_probs=_scalar(inputs, "return_log_probs", False),
            return_num_input_tokens=_scalar(inputs, "return_num_input_tokens", False),
            return_num_output_tokens=_scalar(inputs, "return_num_output_tokens", False),
            return_perf_metrics=_scalar(inputs, "return_perf_metrics", False),
        )

    def tensors(
        self, completion: Completion, cache: CacheUse | None = None
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """The answer's tensors by name, for one prompt and one beam; only those that were asked for."""
        return ((name, array) for name, array in self._all_tensors(completion, cache) if name in self.outputs)

    def _all_tensors(
        self, completion: Completion, cache: CacheUse | None
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        ids = completion.ids if self.exclude_input else self.prompt.ids + completion.ids
        yield "output_ids", np.array([[ids]], np.int32)
        yield "sequence_length", np.array([[len(ids)]], np.int32)
        if self.return_log_probs:
            yield "output_log_probs", np.array([[completion.log_probs]], np.float32)
            yield "cum_log_probs", np.array([[sum(completion.log_probs)]], np.float32)
        if self.return_num_input_tokens:
            yield "num_input_tokens", np.array([[len(self.prompt.ids)]], np.int32)
        if self.return_num_output_tokens:
            yield "num_output_tokens", np.array([[len(completion.ids)]], np.int32)
        if self.return_perf_metrics and cache:
            yield "kv_cache_reused_blocks", np.array([[cache.reused]], np.int32)
            yield "kv_cache_alloc_new_blocks", np.array([[cache.total - cache.reused]], np.int32)
            yield "kv_cache_alloc_total_blocks", np.array([[cache.total]], np.int32)


def encode_word_list(words: Sequence[int]) -> tuple[list[int], list[int]]:
    """Encode words of one token each as the two rows of ``stop_words_list``: flat ids, and each word's end.

    Without words there is one column of padding, since the row of ends must not be empty.
    """
    return (list(words), list(range(1, len(words) + 1))) if words else ([0], [PADDING])


def decode_word_list(flat: Sequence[int], ends: Sequence[int]) -> list[tuple[int, ...]]:
    """Decode a ``stop_words_list``; the inverse of ``encode_word_list``, for words of any length.

    Raises:
        ValueError: The ends do not increase, point outside the ids, or continue after padding.
    """
    used = [end for end in ends if end != PADDING]
    if list(ends[: len(used)]) != used:
        raise ValueError("Sparse list must not have additional -1s")
    starts = [0, *used]
    if any(end <= start for start, end in zip(starts, used, strict=False)):
        raise ValueError("Sparse list must not have non-increasing offsets")
    if used and used[-1] > len(flat):
        raise ValueError("Sparse list must not have out-of-bound offsets")
    return [tuple(flat[start:end]) for start, end in zip(starts, used, strict=False)]


def _check(inputs: Inputs, outputs: frozenset[str]) -> None:
    for name in ("output_ids", "sequence_length"):
        if name not in outputs:
            raise Refusal(f"{name} tensor must be present in list of output tensors")
    if "input_ids" not in inputs:
        raise Refusal("inputTokens or encoderInputFeatures tensor not provided")
    if inputs["input_ids"].shape[0] > 1:
        raise Refusal(BATCH_REFUSED)
    if inputs["input_ids"].size == 0:
        raise Refusal("input_ids holds no token")
    if "request_output_len" not in inputs:  # Triton checks the number of required inputs, not their names
        raise Refusal("request_output_len is not present in the request")
    if _scalar(inputs, "request_output_len", 0) < 1:
        raise Refusal("request_output_len must be at least 1")
    if _scalar(inputs, "streaming", False):
        raise Refusal(STREAMING_REFUSED)


def _check_greedy(inputs: Inputs, neutral: Mapping[str, tuple[float, ...]], engine: str) -> None:
    unsupported = [
        *(inputs.keys() & _ABSENT),
        *(name for name in inputs.keys() & neutral.keys() if inputs[name].item() not in neutral[name]),
    ]
    if unsupported:
        names = ", ".join(sorted(unsupported))
        raise Refusal(f"the {engine} decodes greedily and cannot honour: {names}", unsupported=True)


def _scalar(inputs: Inputs, name: str, default: Any) -> Any:
    return inputs[name].item() if name in inputs else default


def _stop_ids(inputs: Inputs, engine: str) -> tuple[int, ...]:
    if "stop_words_list" not in inputs:
        return ()
    flat, ends = inputs["stop_words_list"].reshape(2, -1).tolist()
    try:
        words = decode_word_list(flat, ends)
    except ValueError as error:
        raise Refusal(str(error)) from error
    if any(len(word) > 1 for word in words):
        raise Refusal(
            f"the {engine} stops at single tokens; stop_words_list holds a longer word", unsupported=True
        )
    return tuple(word[0] for word in words)
